"""How a mutating call is announced, its answer checked, and its outcome recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from synapse_apply.applying import lookup, messages, recognition
from synapse_apply.applying.records import (
    build_record_after_create_or_update,
    build_warnings_of_fields_newly_not_taken_as_sent,
)
from synapse_apply.applying.step import ApplyTools, LiveObjects, Step
from synapse_apply.applying.steps.request_body import replace_secrets_by_macs_or_leave_out
from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import RequestBody
from synapse_apply.model.diagnostic import Diagnostic, FieldPath
from synapse_apply.model.errors import Effect, RemoteError, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Observed
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import AuditEntry, Intent, IntentState, Record
from synapse_apply.model.values import ABSENT, get_at_or_absent


@frozen
class PendingCall:
    """A call that is about to be sent: its body, the fields that become ours, and its intent."""

    body: RequestBody
    managed_fields: Mapping[FieldPath, Any]
    intent: Intent


@frozen
class CallEcho:
    """The object that a successful call left, as the server shows it, and warnings about it."""

    observed: Observed
    request_id: str
    warnings: tuple[Diagnostic, ...]


def confirm_and_claim_object_left_by_call(
    step: Step, tools: ApplyTools, call: PendingCall, observed: Observed
) -> CallEcho:
    """The object that a successful call left, from its answer or, if that is short, from a read.

    Raises RemoteError of unknown effect where the answer is another object than that of the call.
    """
    warnings: tuple[Diagnostic, ...] = ()
    request_id = tools.last_request_id()  # taken now: reading back has a request id of its own
    differing_names = ", ".join(
        recognition.iter_identifying_fields_unlike_sent(
            step, call.intent, call.managed_fields, observed
        )
    )
    if differing_names or any(
        get_at_or_absent(observed.spec, path[:1]) is ABSENT for path in call.managed_fields
    ):
        try:
            observed = lookup.read_object_by_id_or_raise(
                step, tools, call.intent.remote_id or observed.remote_id
            )
        except RemoteError as failure:
            hidden_names = ", ".join(
                recognition.iter_identifying_fields_not_shown(
                    step, call.intent, call.managed_fields, observed
                )
            )
            if hidden_names and not differing_names:
                message = (
                    f"the answer does not show {hidden_names}, and reading it back failed: "
                    f"{failure}"
                )
                raise RemoteError(message, request_id=request_id, effect=Effect.UNKNOWN) from None
            # The write is certain, and only the read failed: what is known is recorded.
            warnings = (messages.build_no_read_back_warning(step, failure),)
            # A short answer says nothing of a field that it lacks.
            observed = replace(observed, missing_fields=frozenset())
        else:
            if differing_names:
                mismatch_warning = messages.build_mismatched_answer_warning(
                    step, differing_names, request_id
                )
                warnings = (
                    mismatch_warning,
                    *build_warnings_of_fields_newly_not_taken_as_sent(
                        step, call.managed_fields, observed
                    ),
                )
    _claim_answered_object_or_raise_if_it_is_another(step, tools, call, observed, request_id)
    return CallEcho(
        observed,
        request_id,
        warnings
        or build_warnings_of_fields_newly_not_taken_as_sent(step, call.managed_fields, observed),
    )


def _claim_answered_object_or_raise_if_it_is_another(
    step: Step, tools: ApplyTools, call: PendingCall, observed: Observed, request_id: str
) -> None:
    """Raise RemoteError where the answered object is not the call's or is another address's."""
    intent, message = call.intent, ""
    if differing_names := ", ".join(
        recognition.iter_identifying_fields_unlike_sent(step, intent, call.managed_fields, observed)
    ):
        message = (
            f"another object was answered (id {observed.remote_id}): its {differing_names} differs"
        )
    elif intent.remote_id and observed.remote_id != intent.remote_id:
        message = f"id {observed.remote_id} was answered, and {intent.remote_id} was meant"
    elif step.change.replaces_package and lookup.shows_other_package(observed, intent.digest):
        message = f"id {observed.remote_id} was answered with another package than was sent"
    # Last, because it claims: an object that is refused above must stay free for its own address.
    elif owner := claim_object_or_find_other_owner(step, tools, observed):
        message = f"id {observed.remote_id} was answered, which is recorded as {owner}"
    if message:
        raise RemoteError(message, request_id=request_id or None, effect=Effect.UNKNOWN)


def claim_object_or_find_other_owner(
    step: Step, tools: ApplyTools, observed: Observed
) -> Address | None:
    """The other address that has this object; else claims it for the step's address: None."""
    return tools.claimed_ids.claim_object_or_find_other_owner(tools.store, observed, step.address)


def record_done_call_or_note_recovery_file(
    step: Step, tools: ApplyTools, call: PendingCall, echo: CallEcho
) -> Outcome:
    """Record a successful call with the object that it left: the outcome is DONE.

    Where the state cannot be written it is UNKNOWN, with a recovery file; nothing is raised.
    """
    return record_object_left_or_note_recovery_file(
        step, tools, call, echo.observed, echo.request_id, echo.warnings
    )


def record_object_left_or_note_recovery_file(
    step: Step,
    tools: ApplyTools,
    call: PendingCall,
    observed: Observed,
    request_id: str | None,
    warnings: tuple[Diagnostic, ...],
) -> Outcome:
    tools.on_observed(step.address, observed)
    # Also what a PATCH left out, as it was so already.
    applied = replace_secrets_by_macs_or_leave_out(call.managed_fields, step.salt, tools.secrets)
    new_record: Record = build_record_after_create_or_update(
        step,
        replace(call.intent, fields={**applied, **call.intent.fields}),
        observed,
        tools,
        call.managed_fields,
    )
    closed = replace(call.intent, state=IntentState.DONE, remote_id=observed.remote_id)
    outcome = build_outcome(step, Result.DONE, warnings, observed.remote_id, request_id)
    entry = build_audit_entry(tools, closed, "done", request_id)
    return close_intent_or_note_recovery_file(tools, closed, new_record, entry, outcome)


def close_intent_of_call_without_effect(
    step: Step, tools: ApplyTools, call: PendingCall, failure: RemoteError, cause: Diagnostic
) -> Outcome:
    """Close the intent of a call that certainly had no effect; the record stays as it is.

    The outcome is FAILED because of `cause`, or SKIPPED for a call that was not let out.
    """
    closed = replace(call.intent, state=IntentState.FAILED)
    result, label = Result.FAILED, "failed"
    if reason := tools.explain_unsent_call_or_empty(failure):
        result, label = Result.SKIPPED, "not sent"
        cause = messages.build_skipped_diagnostic(step, reason)
    entry = build_audit_entry(tools, closed, label, failure.request_id)
    outcome = build_outcome(step, result, (cause,), request_id=failure.request_id)
    outcome = replace(outcome, is_conflict=failure.status_code == messages.CONFLICT)
    return close_intent_or_note_recovery_file(tools, closed, step.record, entry, outcome)


# When a call has ended and the state cannot be written (a full disk, a database that is gone, a
# lost lock), its outcome goes to a file beside the project, else to the folder for temporary files.
# It matters most for plugins of API v1, which cannot be looked up.
def close_intent_or_note_recovery_file(
    tools: ApplyTools, intent: Intent, record: Record | None, entry: AuditEntry, outcome: Outcome
) -> Outcome:
    """Record a call's outcome, and return it; UNKNOWN where a done call could not be recorded."""
    # The answer is there: recording it waits for the disk, and must not keep others from calling.
    tools.slot.release_slot()
    try:
        tools.store.close_ended_intent(intent, record, entry)
    except StateError as problem:
        was_done = outcome.result is Result.DONE
        recovery_file = tools.write_recovery_file(intent, record, entry)
        return replace(
            outcome,
            result=Result.UNKNOWN if was_done else outcome.result,
            recovery_file=recovery_file,
            diagnostics=(
                *outcome.diagnostics,
                messages.build_unrecorded_call_diagnostic(
                    intent, recovery_file, tools.target, problem
                ),
            ),
        )
    return outcome


def build_unknown_outcome_leaving_intent_open(
    step: Step, failure: RemoteError, cause: Diagnostic
) -> Outcome:
    """The outcome of a call of unknown effect; its intent stays open for the next run."""
    return build_outcome(
        step,
        Result.UNKNOWN,
        (messages.build_unknown_outcome_diagnostic(step, cause),),
        request_id=failure.request_id,
    )


def build_unstamped_intent(
    step: Step,
    tools: ApplyTools,
    verb: str,
    managed_fields: Mapping[FieldPath, Any],
    live: LiveObjects,
    before: Mapping[FieldPath, Any] | None = None,
) -> Intent:
    series, version = (
        step.type.locate_in_series_or_empty(step.desired.spec) if step.desired else ("", "")
    )
    is_upload = verb == "create" or step.change.replaces_package
    package = step.desired.package if step.desired and is_upload else None
    return Intent(
        id=str(uuid4()),
        plan_id=tools.plan_id,
        address=step.address,
        verb=verb,
        api=step.binding.api,
        natural_key=lookup.resolve_natural_key_or_empty(step, live),
        remote_id=step.record.remote_id if step.record and verb != "create" else "",
        fields=replace_secrets_by_macs_or_leave_out(managed_fields, step.salt, tools.secrets),
        salt=step.salt,
        digest=package.digest if package else None,
        files=package.files if package else {},
        depends_on=step.change.depends_on,
        series=series,
        version=version,
        protected=bool(step.desired and step.desired.lifecycle.prevent_destroy),
        deadline=tools.max_call_seconds(package.size if package else 0),
        # An adoption has begun with its record.
        approvals=()
        if step.change.action is Action.ADOPT
        else tools.approvals.get(step.address, ()),
        before=before or {},
    )


def build_audit_entry(
    tools: ApplyTools, intent: Intent, result: str, request_id: str | None
) -> AuditEntry:
    return tools.actor.build_audit_entry(
        intent, result, moment=tools.clock.utc_now(), plan_id=tools.plan_id, request_id=request_id
    )


def build_outcome(
    step: Step,
    result: Result,
    diagnostics: tuple[Diagnostic, ...] = (),
    remote_id: str = "",
    request_id: str | None = None,
) -> Outcome:
    return Outcome(
        address=step.address,
        action=step.change.action,
        result=result,
        remote_id=remote_id,
        request_id=request_id or "",
        diagnostics=diagnostics,
    )
