"""Carries out one task: announce it, make the call, compare the answer, settle it.

Every mutating call has an intent that is durable before it is sent and is settled at once after
(design section 7). A call whose effect nobody saw is looked up, never repeated blindly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from synapse_apply.applying import failures, lookup
from synapse_apply.applying.announce import announced
from synapse_apply.applying.body import (
    nest,
    patch_of,
    remembered,
    reveal,
    update_fields,
    wanted,
)
from synapse_apply.applying.records import adopted, not_taken, rebased, record_of
from synapse_apply.applying.task import Live, Task, Tools
from synapse_apply.kinds.descriptor import UpdateMode
from synapse_apply.model.diagnostic import Diagnostic, Path
from synapse_apply.model.errors import Effect, NotFound, RemoteError, StateError, SynapseApplyError
from synapse_apply.model.observed import Observed
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import AuditEntry, Intent, IntentState, Record
from synapse_apply.model.values import ABSENT, dig

CREATES = frozenset({Action.CREATE, Action.RECREATE})


@dataclass(frozen=True, slots=True)
class Sent:
    """A call ready to be made: what goes out, and what of it becomes ours."""

    body: Mapping[str, Any]
    ours: Mapping[Path, Any]
    intent: Intent


def execute(task: Task, tools: Tools, live: Live) -> Outcome:
    """Do one task; every way it can end is an Outcome. `live` are the objects known by now."""
    started = tools.clock.seconds()
    tools.progress.started(task.address, task.change.action.value)
    try:
        outcome = _dispatch(task, tools, live)
    except SynapseApplyError as failure:
        outcome = _outcome(task, Result.FAILED, failure.diagnostics)
    except RemoteError as failure:
        outcome = _outcome(task, Result.FAILED, (failures.explain(task, failure, tools.marks),))
    seconds = tools.clock.seconds() - started
    tools.progress.finished(task.address, task.change.action.value, outcome.result.value, seconds)
    return replace(outcome, seconds=seconds)


def _dispatch(task: Task, tools: Tools, live: Live) -> Outcome:
    action = task.change.action
    if action in CREATES:
        return _create(task, tools, live)
    if action is Action.DELETE:
        return _delete(task, tools)
    if action is Action.FORGET:
        tools.store.remove(task.address)
        return _outcome(task, Result.DONE)
    record = task.record
    if action is Action.ADOPT:
        if task.observed is None:
            raise ValueError(f"{task.address} is to be adopted but was not seen")
        record = adopted(task, task.observed, tools)
        tools.store.put(record)
    if task.change.fields:
        return _update(replace(task, record=record), tools, live)
    if record is not None:
        tools.store.put(rebased(task, record, tools))
    return _outcome(task, Result.DONE, remote_id=record.remote_id if record else "")


def _create(task: Task, tools: Tools, live: Live) -> Outcome:
    ours = wanted(task, live)
    body = nest(ours)
    intent = _intent(task, tools, "create", ours, live)
    if task.type.carries_package and intent.digest:
        body["digest"] = intent.digest
    body = task.binding.encode(reveal(body, tools.secrets.resolve))
    sent = Sent(body, ours, intent)
    if not (task.type.carries_package and task.change.extras.get("package")):
        return _send_create(task, tools, sent)
    with tools.packages.open(task.address) as package:
        return _send_create(task, tools, replace(sent, body={**body, "file": package}))


def _send_create(task: Task, tools: Tools, sent: Sent) -> Outcome:
    sent = replace(sent, intent=announced(sent.intent, tools))
    try:
        answer = task.binding.create(tools.api, sent.body)
        made = task.binding.decode(answer, tools.marks)
    except RemoteError as failure:
        return _after_failed_create(task, tools, sent, failure)
    except SynapseApplyError:
        # The package changed while it was read: the body ended early, so nothing was made.
        tools.store.settle(
            replace(sent.intent, state=IntentState.FAILED),
            task.record,
            _entry(tools, sent.intent, "failed", None),
        )
        raise
    return _finish(task, tools, sent, made)


def _after_failed_create(task: Task, tools: Tools, sent: Sent, failure: RemoteError) -> Outcome:
    why = failures.explain(task, failure, tools.marks)
    if failure.effect is Effect.NONE:
        if failure.status_code == failures.CONFLICT:
            return _after_conflict(task, tools, sent, failure, why)
        return _failed(task, tools, sent, failure, why)
    found = lookup.by_key(task, tools, sent.intent.natural_key)
    if found is not None and lookup.made_so(task, sent.ours, found, tools.secrets):
        return _done(task, tools, sent, found, failure.request_id, (failures.recovered(task, why),))
    return _unknown(task, failure, why)


def _after_conflict(
    task: Task, tools: Tools, sent: Sent, failure: RemoteError, why: Diagnostic
) -> Outcome:
    """Somebody was first. Where the object tells that its bytes are ours, that is what we want."""
    found = lookup.by_key(task, tools, sent.intent.natural_key)
    if found is not None and sent.intent.digest and lookup.digest_of(found) == sent.intent.digest:
        warnings = (failures.made_already(task, why),)
        return _done(task, tools, sent, found, failure.request_id, warnings)
    return _failed(task, tools, sent, failure, failures.conflict(task, why, found))


def _update(task: Task, tools: Tools, live: Live) -> Outcome:
    call, record = task.binding.update, task.record
    if call is None or record is None:
        raise ValueError(f"{task.address} cannot be updated, yet its plan says so")
    fresh = task.binding.decode(task.binding.read(tools.api, record.remote_id), tools.marks)
    whole, ours = update_fields(task, fresh.spec, live)
    if task.binding.update_mode is UpdateMode.PATCH:
        whole = patch_of(whole, task)
    body = task.binding.encode(reveal(whole, tools.secrets.resolve))
    intent = announced(_intent(task, tools, "update", ours, live), tools)
    sent = Sent(body, ours, intent)
    for last in (False, True):
        try:
            answer = call(tools.api, record.remote_id, body)
            changed = task.binding.decode(answer, tools.marks)
        except RemoteError as failure:
            outcome = _after_failed_update(task, tools, sent, failure, last=last)
            if outcome is not None:
                return outcome
        else:
            return _finish(task, tools, sent, changed)
    raise AssertionError("an update is sent at most twice")


def _after_failed_update(
    task: Task, tools: Tools, sent: Sent, failure: RemoteError, *, last: bool
) -> Outcome | None:
    """None asks for a second try: a PUT that a re-read shows not done may be sent again."""
    why = failures.explain(task, failure, tools.marks)
    if failure.effect is Effect.NONE:
        return _failed(task, tools, sent, failure, why)
    try:
        found = lookup.by_id(task, tools, sent.intent.remote_id)
    except RemoteError:
        found = None
    if found is not None and lookup.changed_so(task, sent.ours, found, tools.secrets):
        return _done(task, tools, sent, found, failure.request_id, (failures.recovered(task, why),))
    if found is not None and not last:
        return None
    return _unknown(task, failure, why)


def _delete(task: Task, tools: Tools) -> Outcome:
    call, record = task.binding.delete, task.record
    if call is None or record is None:
        raise ValueError(f"{task.address} cannot be deleted, yet its plan says so")
    intent = announced(_intent(task, tools, "delete", {}, {}), tools)
    sent = Sent({}, {}, intent)
    try:
        call(tools.api, record.remote_id)
    except NotFound:
        pass  # what is to be gone is gone
    except RemoteError as failure:
        why = failures.explain(task, failure, tools.marks)
        if failure.effect is Effect.NONE:
            return _failed(task, tools, sent, failure, why)
        if not _is_gone(task, tools, record.remote_id):
            return _unknown(task, failure, why)
    settled = replace(intent, state=IntentState.DONE)
    entry = _entry(tools, intent, "done", tools.request_id())
    return _settled(
        tools, settled, None, entry, _outcome(task, Result.DONE, remote_id=record.remote_id)
    )


def _is_gone(task: Task, tools: Tools, remote_id: str) -> bool:
    try:
        return lookup.by_id(task, tools, remote_id) is None
    except RemoteError:
        return False


def _finish(task: Task, tools: Tools, sent: Sent, observed: Observed) -> Outcome:
    """The call was acknowledged; where the answer is not the whole object, read it back."""
    warnings: tuple[Diagnostic, ...] = ()
    request_id = tools.request_id()  # of the write: a read-back has one of its own
    if any(dig(observed.spec, path[:1]) is ABSENT for path in sent.ours):
        try:
            observed = task.binding.decode(
                task.binding.read(tools.api, observed.remote_id), tools.marks
            )
        except RemoteError as failure:
            # The write is certain, only its echo is not: record what is known.
            warnings = (failures.no_read_back(task, failure),)
    return _done(
        task,
        tools,
        sent,
        observed,
        request_id,
        warnings or not_taken(task, sent.ours, observed),
    )


def _done(
    task: Task,
    tools: Tools,
    sent: Sent,
    observed: Observed,
    request_id: str | None,
    warnings: tuple[Diagnostic, ...],
) -> Outcome:
    tools.saw(task.address, observed)
    record: Record = record_of(task, sent.intent, observed, tools, sent.ours)
    settled = replace(sent.intent, state=IntentState.DONE, remote_id=observed.remote_id)
    outcome = _outcome(task, Result.DONE, warnings, observed.remote_id, request_id)
    entry = _entry(tools, settled, "done", request_id)
    return _settled(tools, settled, record, entry, outcome)


def _failed(task: Task, tools: Tools, sent: Sent, failure: RemoteError, why: Diagnostic) -> Outcome:
    """The call was certainly not acted on: the intent closes and the record stays."""
    settled = replace(sent.intent, state=IntentState.FAILED)
    entry = _entry(tools, settled, "failed", failure.request_id)
    outcome = _outcome(task, Result.FAILED, (why,), request_id=failure.request_id)
    return _settled(tools, settled, task.record, entry, outcome)


def _settled(
    tools: Tools, intent: Intent, record: Record | None, entry: AuditEntry, outcome: Outcome
) -> Outcome:
    """The outcome, once the state has it; a call that was done and is not recorded is unknown."""
    try:
        tools.store.settle(intent, record, entry)
    except StateError as broken:
        done = outcome.result is Result.DONE
        kept = tools.keep_aside(intent, record, entry)
        return replace(
            outcome,
            result=Result.UNKNOWN if done else outcome.result,
            unrecorded=kept,
            diagnostics=(
                *outcome.diagnostics,
                failures.unrecorded(intent, kept, tools.target, broken),
            ),
        )
    return outcome


def _unknown(task: Task, failure: RemoteError, why: Diagnostic) -> Outcome:
    """Nobody saw whether the call was done: its intent stays open for the next run."""
    return _outcome(
        task, Result.UNKNOWN, (failures.unknown(task, why),), request_id=failure.request_id
    )


def _intent(
    task: Task,
    tools: Tools,
    verb: str,
    ours: Mapping[Path, Any],
    live: Live,
) -> Intent:
    series, version = task.type.place_in_series(task.desired.spec) if task.desired else ("", "")
    package = task.desired.package if task.desired and verb == "create" else None
    return Intent(
        id=str(uuid4()),
        plan_id=tools.plan_id,
        address=task.address,
        verb=verb,
        api=task.binding.api,
        natural_key=lookup.key_now(task, live),
        remote_id=task.record.remote_id if task.record and verb != "create" else "",
        fields=remembered(ours, task.salt, tools.secrets),
        salt=task.salt,
        digest=package.digest if package else None,
        files=package.files if package else {},
        depends_on=task.change.depends_on,
        series=series,
        version=version,
        protected=bool(task.desired and task.desired.lifecycle.prevent_destroy),
        deadline=tools.longest_call(package.size if package else 0),
    )


def _entry(tools: Tools, intent: Intent, result: str, request_id: str | None) -> AuditEntry:
    return tools.actor.audit(
        intent, result, at=tools.clock.now(), plan_id=tools.plan_id, request_id=request_id
    )


def _outcome(
    task: Task,
    result: Result,
    diagnostics: tuple[Diagnostic, ...] = (),
    remote_id: str = "",
    request_id: str | None = None,
) -> Outcome:
    return Outcome(
        address=task.address,
        action=task.change.action,
        result=result,
        remote_id=remote_id,
        request_id=request_id or "",
        diagnostics=diagnostics,
    )
