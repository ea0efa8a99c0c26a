"""A mutating call from its announcement to the record of it: what every verb has in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from synapse_apply.applying import failures, lookup, recognise
from synapse_apply.applying.body import remembered
from synapse_apply.applying.records import not_taken, record_of
from synapse_apply.applying.task import Live, Task, Tools
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Path
from synapse_apply.model.errors import Effect, RemoteError, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Observed
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import AuditEntry, Intent, IntentState, Record
from synapse_apply.model.values import ABSENT, dig


@frozen
class Sent:
    """A call ready to be made: what goes out, and what of it becomes ours."""

    body: Mapping[str, Any]
    ours: Mapping[Path, Any]
    intent: Intent


@frozen
class Echo:
    """What a call that was acknowledged left behind, as far as the server shows it."""

    observed: Observed
    request_id: str
    warnings: tuple[Diagnostic, ...]


def echo_of(task: Task, tools: Tools, sent: Sent, observed: Observed) -> Echo:
    """The call was acknowledged; where the answer is not the whole object, read it back.

    RemoteError of unknown effect where what is answered is not the object of the call.
    """
    warnings: tuple[Diagnostic, ...] = ()
    request_id = tools.request_id()  # of the write: a read-back has one of its own
    others = ", ".join(recognise.shown_otherwise(task, sent.intent, sent.ours, observed))
    if others or any(dig(observed.spec, path[:1]) is ABSENT for path in sent.ours):
        try:
            observed = lookup.read(task, tools, sent.intent.remote_id or observed.remote_id)
        except RemoteError as failure:
            missing = ", ".join(recognise.hidden(task, sent.intent, sent.ours, observed))
            if missing and not others:
                words = f"the answer does not show {missing}, and reading it back failed: {failure}"
                raise RemoteError(words, request_id=request_id, effect=Effect.UNKNOWN) from None
            # The write is certain, only its echo is not: record what is known.
            warnings = (failures.no_read_back(task, failure),)
            observed = replace(observed, lacks=frozenset())  # a short answer tells of no field
        else:
            if others:
                told = failures.shown_otherwise(task, others, request_id)
                warnings = (told, *not_taken(task, sent.ours, observed))
    _check_identity(task, tools, sent, observed, request_id)
    return Echo(observed, request_id, warnings or not_taken(task, sent.ours, observed))


def _check_identity(
    task: Task, tools: Tools, sent: Sent, observed: Observed, request_id: str
) -> None:
    """RemoteError where an object is not the one that was sent, or has another address."""
    intent, words = sent.intent, ""
    if others := ", ".join(recognise.shown_otherwise(task, intent, sent.ours, observed)):
        words = f"another object was answered (id {observed.remote_id}): its {others} differs"
    elif intent.remote_id and observed.remote_id != intent.remote_id:
        words = f"id {observed.remote_id} was answered, and {intent.remote_id} was meant"
    elif owner := other_owner(task, tools, observed):
        words = f"id {observed.remote_id} was answered, which is recorded as {owner}"
    if words:
        raise RemoteError(words, request_id=request_id or None, effect=Effect.UNKNOWN)


def other_owner(task: Task, tools: Tools, observed: Observed) -> Address | None:
    """The other address that has this object; None where it is this task's, which it is then."""
    return tools.claims.claim(tools.store, observed, task.address)


def finish(task: Task, tools: Tools, sent: Sent, echo: Echo) -> Outcome:
    """The call is done, and recorded with what it left behind."""
    return done(task, tools, sent, echo.observed, echo.request_id, echo.warnings)


def done(
    task: Task,
    tools: Tools,
    sent: Sent,
    observed: Observed,
    request_id: str | None,
    warnings: tuple[Diagnostic, ...],
) -> Outcome:
    tools.saw(task.address, observed)
    record: Record = record_of(task, sent.intent, observed, tools, sent.ours)
    closed = replace(sent.intent, state=IntentState.DONE, remote_id=observed.remote_id)
    outcome = outcome_of(task, Result.DONE, warnings, observed.remote_id, request_id)
    entry = entry_of(tools, closed, "done", request_id)
    return settled(tools, closed, record, entry, outcome)


def failed(task: Task, tools: Tools, sent: Sent, failure: RemoteError, why: Diagnostic) -> Outcome:
    """The call was certainly not acted on: the intent closes and the record stays."""
    closed = replace(sent.intent, state=IntentState.FAILED)
    entry = entry_of(tools, closed, "failed", failure.request_id)
    outcome = outcome_of(task, Result.FAILED, (why,), request_id=failure.request_id)
    return settled(tools, closed, task.record, entry, outcome)


def settled(
    tools: Tools, intent: Intent, record: Record | None, entry: AuditEntry, outcome: Outcome
) -> Outcome:
    """The outcome, once the state has it; a call that was done and is not recorded is unknown."""
    tools.place.leave()
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


def unknown(task: Task, failure: RemoteError, why: Diagnostic) -> Outcome:
    """Nobody saw whether the call was done: its intent stays open for the next run."""
    return outcome_of(
        task, Result.UNKNOWN, (failures.unknown(task, why),), request_id=failure.request_id
    )


def intent_of(
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


def entry_of(tools: Tools, intent: Intent, result: str, request_id: str | None) -> AuditEntry:
    return tools.actor.audit(
        intent, result, at=tools.clock.now(), plan_id=tools.plan_id, request_id=request_id
    )


def outcome_of(
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
