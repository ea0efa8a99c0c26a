"""How each action of a step is carried out, and what its outcome is after a failure."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from synapse_apply.applying import messages
from synapse_apply.applying.body import declared_fields, update_body
from synapse_apply.applying.call import Call
from synapse_apply.applying.create import Create
from synapse_apply.applying.lookup import may_be_created
from synapse_apply.applying.records import (
    adopted_record,
    digest_fields_beside,
    fields_before,
    record_where_agreed,
)
from synapse_apply.applying.run import NotStarted, Run
from synapse_apply.applying.settle import IntentResolver
from synapse_apply.applying.step import CREATES, Step
from synapse_apply.model.diagnostic import Severity
from synapse_apply.model.errors import Effect, NotFound, RemoteError, SynapseApplyError
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import CREATE_VERB, IntentState


def carry_out(run: Run, step: Step) -> tuple[Outcome, ...]:
    """Carry out one step and its companion; errors become outcomes, one for each object."""
    if step.change.action in CREATES or step.change.replaces_package:
        # It may write its intent before it has its slot.
        return _outcomes_of(run, step, lambda: Create(run, step).send())
    run.gate.take_slot(step.address)
    return _outcomes_of(run, step, lambda: (_change(run, step),))


def carry_out_final_call(run: Run, step: Step) -> Outcome:
    """Make the step's final call, which cannot be undone, such as locking a release."""
    rest = step.plain_fields
    fields = tuple(change for change in step.change.fields if change not in rest)
    change = replace(step.change, action=Action.UPDATE, fields=fields)
    last = replace(step, change=change, companion=None)
    # Where an object was made, adopted or updated before, that has used the approvals up.
    is_only_call = step.change.action is Action.UPDATE and not rest
    (outcome,) = _outcomes_of(run, last, lambda: (_seal(run, last, uses_approvals=is_only_call),))
    return outcome


def _outcomes_of(
    run: Run, step: Step, work: Callable[[], tuple[Outcome, ...]]
) -> tuple[Outcome, ...]:
    """Run some work, report its progress, and return its outcomes with their duration."""
    started_at = run.seconds()
    for created in step.all_created:
        run.progress.report_start(created.address, created.change.action.value)
    outcomes: tuple[Outcome, ...] = ()
    try:
        outcomes = work()
    except SynapseApplyError as failure:
        outcomes = (step.outcome(Result.FAILED, *failure.diagnostics),)
    except RemoteError as failure:
        cause = messages.failed(step, failure, run.backend.marks_of(step))
        outcomes = (step.outcome(Result.FAILED, cause),)
    except NotStarted:
        _report_end(run, step, outcomes, run.seconds() - started_at)
        raise
    seconds = run.seconds() - started_at
    _report_end(run, step, outcomes, seconds)
    return tuple(replace(outcome, seconds=seconds) for outcome in outcomes)


def _report_end(run: Run, step: Step, outcomes: tuple[Outcome, ...], seconds: float) -> None:
    by_address = {outcome.address: outcome for outcome in outcomes}
    for created in step.all_created:
        outcome = by_address.get(created.address) or created.outcome(Result.SKIPPED)
        verb, result = created.change.action.value, outcome.progress_result
        run.progress.report_end(created.address, verb, result, seconds, outcome.remote_id)


def _change(run: Run, step: Step) -> Outcome:
    """Do one change that creates nothing; ValueError for one that a plan never has."""
    action, record, store = step.change.action, step.record, run.ledger.store
    approvals = run.gate.approvals.get(step.address, ())
    if action is Action.DELETE:
        return _delete(run, step)
    if action is Action.FORGET:
        run.gate.require_permit()
        store.remove_records(step.address, uses_up=approvals)
        _audit_without_call(run, step)
        return step.outcome(Result.DONE)
    if action is Action.ADOPT:
        if step.observed is None:
            raise ValueError(f"{step.address} is to be adopted but was not seen")
        record = adopted_record(step, step.observed, run)
        run.gate.require_permit()
        store.write_records(record, uses_up=approvals)
        _audit_without_call(run, step)
    if fields := step.plain_fields:
        change = replace(step.change, fields=fields)
        return _update(run, replace(step, record=record, change=change))
    if record is None:
        return step.outcome(Result.DONE)
    store.write_records(record_where_agreed(step, record, run))
    return step.outcome(Result.DONE, remote_id=record.remote_id)


def _audit_without_call(run: Run, step: Step) -> None:
    """Add an audit entry for a change of the state alone."""
    ledger, remote_id = run.ledger, step.observed.remote_id if step.observed is not None else ""
    if not remote_id and step.record is not None:
        remote_id = step.record.remote_id
    entry = ledger.actor.build_state_audit_entry(
        step.address,
        step.change.action.value,
        moment=ledger.clock.utc_now(),
        plan_id=ledger.plan_id,
        remote_id=remote_id,
    )
    ledger.store.append_audit_entries(entry)


def _update(run: Run, step: Step) -> Outcome:
    update, record = step.binding.update_object, step.record
    if update is None or record is None:
        raise ValueError(f"{step.address} cannot be updated, yet its plan says so")
    # Read again, not taken from the plan: the PUT overwrites all that changed since.
    observed = run.backend.read(step, record.remote_id)
    body, fields, sent = update_body(step, observed.spec, run.backend, run.secrets.resolve_secret)
    before = fields_before(step, observed, sent, run.secrets)
    beside = digest_fields_beside(observed, body, before, step.salt, run.secrets)
    call = Call(run, step, "update", fields, sent=sent, before=before, beside=beside)
    return call.send(lambda: update(run.backend.api, record.remote_id, body), observed)


def _seal(run: Run, step: Step, *, uses_approvals: bool) -> Outcome:
    # The record as the earlier call of this step left it, not as it was planned.
    seal, record = step.binding.final_call, run.ledger.store.find_record(step.address)
    if seal is None or record is None:
        raise ValueError(f"{step.address} cannot be sealed, yet its plan says so")
    if record.is_package_untold:
        return step.outcome(
            Result.FAILED, messages.finding("untold package", step.address, verb=seal.verb)
        )
    path = (seal.name,)
    call = Call(
        run,
        replace(step, record=record),
        seal.verb,
        {**declared_fields(step, run.backend), path: True},
        sent={path: True},
        before={path: False},
        uses_approvals=uses_approvals,
    )
    return call.send(lambda: seal.send_call(run.backend.api, record.remote_id))


def _delete(run: Run, step: Step) -> Outcome:
    delete, record = step.binding.delete_object, step.record
    if delete is None or record is None:
        raise ValueError(f"{step.address} cannot be deleted, yet its plan says so")
    call = Call(run, step, "delete", {})
    (call.intent,) = run.announce(call.intent)
    try:
        delete(run.backend.api, record.remote_id)
    except NotFound:
        pass  # it is gone already, which is what was wanted
    except RemoteError as failure:
        if failure.effect is Effect.NONE:
            return call.without_effect(failure)
        # An unreadable object may still exist, so the delete stays open for the next run.
        is_gone = False
        with suppress(RemoteError):
            is_gone = run.backend.find(step, record.remote_id) is None
        if not is_gone:
            return call.unknown(failure)
    closed = replace(call.intent, state=IntentState.DONE)
    outcome = step.outcome(Result.DONE, remote_id=record.remote_id)
    return call.close(closed, None, "done", outcome, run.backend.request_id())


def can_look_again(run: Run, step: Step) -> bool:
    """Whether a look can show that a step's call was done: a create must be found by its key."""
    is_create = step.change.action in CREATES
    return not is_create or run.backend.proves_absence(step, run.backend.key(step))


# After a gateway timeout, or on a server that shows changes late: an object that is as it was sent
# is proof within the same run. Any other proves nothing until the intent is old enough, which is
# for the next run to decide.
def look_again(run: Run, step: Step, previous: Outcome) -> Outcome:
    """A DONE outcome, and the intent settled, if the object is as it was sent; else `previous`."""
    try:
        return _settle_if_done(run, step, previous)
    except SynapseApplyError:  # the state failed: the intent stays open for the next run
        return previous


def _settle_if_done(run: Run, step: Step, previous: Outcome) -> Outcome:
    ledger, store, backend = run.ledger, run.ledger.store, run.backend
    opened = store.read_state().open_intents
    mine = (step.address, ledger.plan_id)
    intent = next((one for one in opened if (one.address, one.plan_id) == mine), None)
    if intent is None:
        return previous
    is_create = intent.verb == CREATE_VERB
    observed, record = None, step.record if is_create else store.find_record(step.address)
    if is_create:
        observed = backend.only(step, intent.natural_key)
        if observed is None or not may_be_created(
            step, declared_fields(step, backend), observed, run.secrets
        ):
            return previous
    resolver = IntentResolver(
        backend.api,
        # Only this kind is needed, as only this intent is resolved.
        {step.address.kind: step.type},
        run.secrets,
        backend.marks_of(step),
        backend.capabilities,
        ledger.clock.utc_now(),
        run.settle_after,
        find_other_owner=run.claims.other_owner,
        read_published_digest=run.read_published_digest,
    )
    resolved = resolver.resolve_intent(intent, record)
    # Of a package that nothing shows, the record says so: it is taken as right after the call.
    if is_create and resolved.record and resolved.record.doubted and intent.digest:
        resolved = replace(resolved, intent=replace(resolved.intent, state=IntentState.DONE))
    # Anything else proves nothing yet, as the call may still be carried out.
    made_id = resolved.record.remote_id if is_create and resolved.record else ""
    if not resolved.is_done or (resolved.reason and made_id != resolved.intent.remote_id):
        return previous
    if observed is not None:
        backend.known[step.address] = observed
    entry = ledger.entry(resolved.intent, f"settled: {resolved.intent.state.outcome}")
    store.close_ended_intent(resolved.intent, resolved.record, entry)
    warning = messages.finding(
        "looked up",
        step.address,
        verb=intent.verb,
        found="it was there" if is_create else "its effect was there",
        id=resolved.intent.remote_id,
        reason=resolved.reason and f" ({resolved.reason})",
        request_id=previous.request_id,
    )
    return replace(
        previous,
        result=Result.DONE,
        remote_id=resolved.intent.remote_id,
        # That an update was sent twice.
        diagnostics=(warning, *(d for d in previous.diagnostics if d.severity is Severity.WARNING)),
    )
