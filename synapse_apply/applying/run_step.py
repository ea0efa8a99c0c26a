"""How each action of a step is carried out, and what its outcome is after a failure.

Every mutating call has an intent that is stored before it is sent and closed right after. A call of
unknown effect is looked up, never repeated blindly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from synapse_apply.applying import lookup, messages
from synapse_apply.applying.calls import (
    PendingCall,
    build_audit_entry,
    build_outcome,
    build_unknown_outcome_leaving_intent_open,
    build_unstamped_intent,
    close_intent_of_call_without_effect,
    close_intent_or_note_recovery_file,
    confirm_and_claim_object_left_by_call,
    record_done_call_or_note_recovery_file,
    record_object_left_or_note_recovery_file,
)
from synapse_apply.applying.records import (
    build_adopted_record,
    build_record_updated_where_both_sides_agree,
    digest_fields_beside,
    list_fields_before_update,
)
from synapse_apply.applying.step import (
    CREATES,
    ApplyTools,
    LiveObjects,
    Step,
    StepNotStarted,
    list_step_and_companion,
)
from synapse_apply.applying.steps.create import create_object_and_companion
from synapse_apply.applying.steps.request_body import (
    build_declared_fields_without_final_call,
    build_update_body_or_raise_stale_if_clearing_secret,
    select_sent_fields,
)
from synapse_apply.applying.write_intents import acquire_slot_and_write_stamped_intents_in_time
from synapse_apply.model.address import Address
from synapse_apply.model.errors import Effect, NotFound, RemoteError, SynapseApplyError
from synapse_apply.model.observed import Observed
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import IntentState


def execute_step_and_companion(
    step: Step, tools: ApplyTools, live: LiveObjects
) -> tuple[Outcome, ...]:
    """Carry out one step and its companion; errors become outcomes, one for each object.

    `live` are the live objects known so far.
    """
    is_create = step.change.action in CREATES or step.change.replaces_package

    def run_action() -> tuple[Outcome, ...]:
        return (
            create_object_and_companion(step, tools, live)
            if is_create
            else (_execute_action_other_than_create(step, tools, live),)
        )

    if not is_create:  # a create may write its intent before it has its slot
        tools.acquire_slot_and_mark_started_or_raise_not_started(step.address)
    return _run_work_and_report_with_errors_as_outcomes(step, tools, run_action)


def execute_final_call(step: Step, tools: ApplyTools, live: LiveObjects) -> Outcome:
    """Make the step's final call, which cannot be undone, such as locking a release."""
    final_fields = tuple(
        field_change
        for field_change in step.change.fields
        if field_change not in step.fields_without_final_call
    )
    change = replace(step.change, action=Action.UPDATE, fields=final_fields)
    final_step = replace(step, change=change, companion=None)
    if step.has_call_before_final_call:
        tools = replace(tools, approvals={})
    (outcome,) = _run_work_and_report_with_errors_as_outcomes(
        final_step, tools, lambda: (_send_final_call_and_record(final_step, tools, live),)
    )
    return outcome


def _run_work_and_report_with_errors_as_outcomes(
    step: Step, tools: ApplyTools, work: Callable[[], tuple[Outcome, ...]]
) -> tuple[Outcome, ...]:
    """Run some work, report progress, and return its outcomes with their duration.

    Errors become FAILED outcomes.
    """
    started_at = tools.clock.monotonic_seconds()
    for created_step in list_step_and_companion(step):
        tools.progress.report_start(created_step.address, created_step.change.action.value)
    try:
        outcomes = work()
    except SynapseApplyError as failure:
        outcomes = (build_outcome(step, Result.FAILED, failure.diagnostics),)
    except RemoteError as failure:
        diagnostic = messages.build_failure_diagnostic(
            step, failure, tools.marks.with_address(step.address)
        )
        outcomes = (build_outcome(step, Result.FAILED, (diagnostic,)),)
    except StepNotStarted:
        _report_end_of_step_and_companion(
            step, tools, {}, tools.clock.monotonic_seconds() - started_at
        )
        raise
    seconds = tools.clock.monotonic_seconds() - started_at
    _report_end_of_step_and_companion(
        step, tools, {outcome.address: outcome for outcome in outcomes}, seconds
    )
    return tuple(replace(outcome, seconds=seconds) for outcome in outcomes)


def _report_end_of_step_and_companion(
    step: Step, tools: ApplyTools, outcomes: Mapping[Address, Outcome], seconds: float
) -> None:
    for created_step in list_step_and_companion(step):
        outcome = outcomes.get(created_step.address)
        result, remote_id = Result.SKIPPED, ""
        if outcome is not None:
            result, remote_id = outcome.result, outcome.remote_id
        verb = created_step.change.action.value
        tools.progress.report_end(created_step.address, verb, result.value, seconds, remote_id)


def _execute_action_other_than_create(step: Step, tools: ApplyTools, live: LiveObjects) -> Outcome:
    """Do one change, with its record; ValueError for one that a plan never has."""
    action = step.change.action
    if action is Action.DELETE:
        return _execute_delete(step, tools)
    if action is Action.FORGET:
        tools.require_permit_or_raise_not_started()
        tools.store.remove_records(step.address, uses_up=tools.approvals.get(step.address, ()))
        _append_state_audit_entry(step, tools)
        return build_outcome(step, Result.DONE)
    record = step.record
    if action is Action.ADOPT:
        if step.observed is None:
            raise ValueError(f"{step.address} is to be adopted but was not seen")
        record = build_adopted_record(step, step.observed, tools)
        tools.require_permit_or_raise_not_started()
        tools.store.write_records(record, uses_up=tools.approvals.get(step.address, ()))
        _append_state_audit_entry(step, tools)
    if step.fields_without_final_call:
        changed_fields_only = replace(step.change, fields=step.fields_without_final_call)
        return _execute_update(
            replace(step, record=record, change=changed_fields_only), tools, live
        )
    if record is not None:
        tools.store.write_records(build_record_updated_where_both_sides_agree(step, record, tools))
    return build_outcome(step, Result.DONE, remote_id=record.remote_id if record else "")


def _append_state_audit_entry(step: Step, tools: ApplyTools) -> None:
    """Add an audit entry for a change of the state alone, without a call."""
    remote_id = step.observed.remote_id if step.observed is not None else ""
    if not remote_id and step.record is not None:
        remote_id = step.record.remote_id
    verb, moment = step.change.action.value, tools.clock.utc_now()
    entry = tools.actor.build_state_audit_entry(
        step.address, verb, moment=moment, plan_id=tools.plan_id, remote_id=remote_id
    )
    tools.store.append_audit_entries(entry)


def _execute_update(step: Step, tools: ApplyTools, live: LiveObjects) -> Outcome:
    call, record = step.binding.update_object, step.record
    if call is None or record is None:
        raise ValueError(f"{step.address} cannot be updated, yet its plan says so")
    # Read again, not taken from the plan: the PUT overwrites all that changed since.
    observed = lookup.read_object_by_id_or_raise(step, tools, record.remote_id)
    body, managed_fields = build_update_body_or_raise_stale_if_clearing_secret(
        step, observed.spec, live, tools.secrets.resolve_secret
    )
    sent_fields = select_sent_fields(step, managed_fields)
    before = list_fields_before_update(step, observed, sent_fields, tools.secrets)
    announced_at = tools.clock.monotonic_seconds()
    unstamped = build_unstamped_intent(step, tools, "update", sent_fields, live, before)
    beside = digest_fields_beside(observed, body, before, step.salt, tools.secrets)
    (intent,) = acquire_slot_and_write_stamped_intents_in_time(
        tools, replace(unstamped, beside=beside)
    )
    pending_call = PendingCall(body, managed_fields, intent)
    lost_answer: RemoteError | None = None
    # A PUT is idempotent, so it may be sent twice; a create may not.
    for is_second in (False, True):
        try:
            answer = call(tools.api, record.remote_id, body)
            echo = confirm_and_claim_object_left_by_call(
                step,
                tools,
                pending_call,
                step.binding.decode(answer, tools.marks.with_address(step.address)),
            )
        except RemoteError as failure:
            if lost_answer is not None and tools.explain_unsent_call_or_empty(failure):
                # The first one was sent, and may still be acted on.
                return _build_unknown_outcome_of_lost_answer(step, tools, lost_answer)
            # The age of both is counted from the one intent.
            seconds = tools.clock.monotonic_seconds() - announced_at
            is_last = is_second or seconds > tools.store.seconds_to_start
            outcome = _resolve_failed_update_or_none_to_retry(
                step, tools, pending_call, failure, None if is_last else observed
            )
            if outcome is not None:
                return outcome
            lost_answer = failure
            # Whatever becomes of the second one, the first may have used the approvals.
            used_intent = replace(intent, approvals=())
            pending_call = PendingCall(body, managed_fields, used_intent)
            # It may still act once the second one was answered.
            given_up = replace(intent, state=IntentState.UNKNOWN)
            step = replace(step, record=record.with_given_up(given_up))
        else:
            if lost_answer is not None:
                resent = messages.build_resent_warning(step, lost_answer)
                echo = replace(echo, warnings=(*echo.warnings, resent))
            return record_done_call_or_note_recovery_file(step, tools, pending_call, echo)
    raise AssertionError("an update is sent at most twice")


def _build_unknown_outcome_of_lost_answer(
    step: Step, tools: ApplyTools, failure: RemoteError
) -> Outcome:
    marks = tools.marks.with_address(step.address)
    cause = messages.build_failure_diagnostic(step, failure, marks)
    return build_unknown_outcome_leaving_intent_open(step, failure, cause)


def _resolve_failed_update_or_none_to_retry(
    step: Step,
    tools: ApplyTools,
    pending_call: PendingCall,
    failure: RemoteError,
    before: Observed | None,
) -> Outcome | None:
    """The outcome of a failed update; None where it was not done and may be sent again.

    `before` is what the update was made from, None for a last try.
    """
    reason = messages.build_failure_diagnostic(
        step, failure, tools.marks.with_address(step.address)
    )
    if failure.effect is Effect.NONE:
        return close_intent_of_call_without_effect(step, tools, pending_call, failure, reason)
    try:
        observed = lookup.find_object_by_id(step, tools, pending_call.intent.remote_id)
    except RemoteError:
        observed = None
    if observed is not None and lookup.shows_update_in_all_kept_fields(
        step, pending_call.managed_fields, observed, tools.secrets
    ):
        done, record = replace(pending_call.intent, state=IntentState.DONE), step.record
        # A first try is kept already, as one that other values wait for.
        if record is not None and all(call.id != done.id for call in record.given_up):
            step = replace(step, record=record.with_given_up(done))
        return record_object_left_or_note_recovery_file(
            step,
            tools,
            pending_call,
            observed,
            failure.request_id,
            (messages.build_recovered_call_warning(step, reason),),
        )
    # It was not done, and nobody else has changed what the same body would overwrite.
    if observed is not None and before is not None and observed.spec == before.spec:
        return None
    return build_unknown_outcome_leaving_intent_open(step, failure, reason)


def _send_final_call_and_record(step: Step, tools: ApplyTools, live: LiveObjects) -> Outcome:
    final_call, record = step.binding.final_call, tools.store.find_record(step.address)
    if final_call is None or record is None:
        raise ValueError(f"{step.address} cannot be sealed, yet its plan says so")
    # The record as the earlier call of this step left it, not as it was planned.
    step = replace(step, record=record)
    managed_fields = {
        **build_declared_fields_without_final_call(step, live),
        (final_call.name,): True,
    }
    sent = (final_call.name,)
    unstamped = build_unstamped_intent(
        step, tools, final_call.verb, {sent: True}, live, {sent: False}
    )
    (intent,) = acquire_slot_and_write_stamped_intents_in_time(tools, unstamped)
    pending_call = PendingCall({}, managed_fields, intent)
    try:
        answer = final_call.send_call(tools.api, record.remote_id)
        echo = confirm_and_claim_object_left_by_call(
            step,
            tools,
            pending_call,
            step.binding.decode(answer, tools.marks.with_address(step.address)),
        )
    except RemoteError as failure:
        outcome = _resolve_failed_update_or_none_to_retry(step, tools, pending_call, failure, None)
        if outcome is None:
            raise AssertionError("a last try is over") from failure
        return outcome
    return record_done_call_or_note_recovery_file(step, tools, pending_call, echo)


def _execute_delete(step: Step, tools: ApplyTools) -> Outcome:
    call, record = step.binding.delete_object, step.record
    if call is None or record is None:
        raise ValueError(f"{step.address} cannot be deleted, yet its plan says so")
    (intent,) = acquire_slot_and_write_stamped_intents_in_time(
        tools, build_unstamped_intent(step, tools, "delete", {}, {})
    )
    pending_call = PendingCall({}, {}, intent)
    try:
        call(tools.api, record.remote_id)
    except NotFound:
        pass  # it is gone already, which is what was wanted
    except RemoteError as failure:
        reason = messages.build_failure_diagnostic(
            step, failure, tools.marks.with_address(step.address)
        )
        if failure.effect is Effect.NONE:
            return close_intent_of_call_without_effect(step, tools, pending_call, failure, reason)
        # An unreadable object may still exist, so the delete stays open for the next run.
        if not _is_found_gone_or_false_if_unreadable(step, tools, record.remote_id):
            return build_unknown_outcome_leaving_intent_open(step, failure, reason)
    closed = replace(intent, state=IntentState.DONE)
    entry = build_audit_entry(tools, intent, "done", tools.last_request_id())
    return close_intent_or_note_recovery_file(
        tools, closed, None, entry, build_outcome(step, Result.DONE, remote_id=record.remote_id)
    )


def _is_found_gone_or_false_if_unreadable(step: Step, tools: ApplyTools, remote_id: str) -> bool:
    try:
        return lookup.find_object_by_id(step, tools, remote_id) is None
    except RemoteError:
        return False
