"""How a create is sent, tried again in plain forms, recorded, and looked up after a failure.

A create makes one object, or an owner and its companion of another kind. The intents of both are
stored before the call, and each is closed and recorded on its own, so that after an interruption
each object is looked up by its own key; a package that replaces another is told by its digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from uuid import uuid4

from synapse_apply.applying import lookup, messages
from synapse_apply.applying.calls import (
    PendingCall,
    build_audit_entry,
    build_outcome,
    build_unknown_outcome_leaving_intent_open,
    build_unstamped_intent,
    claim_object_or_find_other_owner,
    close_intent_of_call_without_effect,
    confirm_and_claim_object_left_by_call,
    record_done_call_or_note_recovery_file,
    record_object_left_or_note_recovery_file,
)
from synapse_apply.applying.step import ApplyTools, LiveObjects, Step
from synapse_apply.applying.steps.conflict import (
    may_natural_key_be_taken,
    record_or_adopt_conflicting_object_or_fail,
)
from synapse_apply.applying.steps.plain_forms import list_refused_names_if_all_are_preferred
from synapse_apply.applying.steps.request_body import (
    PendingObject,
    build_declared_fields_without_final_call,
    build_pending_objects,
    find_address_of_package_to_upload,
    replace_secrets_by_macs_or_leave_out,
)
from synapse_apply.applying.write_intents import acquire_slot_and_write_stamped_intents_in_time
from synapse_apply.model.coding.json_types import RequestBody, ServerObject
from synapse_apply.model.errors import Effect, RemoteError, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Lookup, Observed
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import CREATE_VERB, REPLACE_VERB, Intent, IntentState

_PACKAGE_IS_FINAL = "This backend keeps the package that a version was published with: raise it."


@frozen
class _CreatePart:
    """One object of a create, with its call and the fields that have two forms."""

    step: Step
    call: PendingCall
    preferred_forms: Mapping[str, Any]

    def with_intent(self, intent: Intent) -> _CreatePart:
        """A copy with another intent."""
        call = PendingCall(self.call.body, self.call.managed_fields, intent)
        return _CreatePart(self.step, call, self.preferred_forms)


def create_object_and_companion(
    step: Step, tools: ApplyTools, live: LiveObjects
) -> tuple[Outcome, ...]:
    """Create the step's object and its companion; the outcomes are in this order.

    Where the call certainly failed there is only the step's outcome, as the companion was not
    tried.
    """
    parts = [
        _prepare_create_part(pending_object, tools, live)
        for pending_object in build_pending_objects(step, live, tools.secrets.resolve_secret)
    ]
    package_address = find_address_of_package_to_upload(step)
    if package_address:  # packing takes disk space, so the number of concurrent ones is limited
        tools.acquire_slot_and_mark_started_or_raise_not_started()
    with (
        tools.packages.open_package(package_address)
        if package_address
        else nullcontext() as package
    ):
        return _send_create_until_forms_accepted_and_record(parts, tools, package, live)


def _prepare_create_part(
    pending_object: PendingObject, tools: ApplyTools, live: LiveObjects
) -> _CreatePart:
    verb = REPLACE_VERB if pending_object.step.change.replaces_package else CREATE_VERB
    intent = build_unstamped_intent(
        pending_object.step, tools, verb, pending_object.managed_fields, live
    )
    return _CreatePart(
        pending_object.step,
        PendingCall(pending_object.body, pending_object.managed_fields, intent),
        pending_object.preferred_forms,
    )


def _send_create_until_forms_accepted_and_record(
    parts: Sequence[_CreatePart], tools: ApplyTools, package: Any, live: LiveObjects
) -> tuple[Outcome, ...]:
    """Send the create, and again for fields of which the server takes only the plain form.

    Each attempt has its own intent and audit entry: the next run counts the age of a call from its
    own time, and the history shows every call that was made.
    """
    start = package.tell() if package is not None else 0
    owner_part, plain_names = parts[0], frozenset[str]()
    preferred = tools.accepted_plain_forms.drop_fields_to_be_sent_in_plain_form(
        owner_part.step.type.prefix, owner_part.step.binding, owner_part.preferred_forms
    )
    while True:
        body = {**owner_part.call.body, **preferred}
        if package is not None:
            package.seek(start)
            body["file"] = package
        parts = _write_create_intents_and_stamp_parts(parts, tools)
        answer = _call_create_with_remote_error_as_result(parts, tools, body)
        refused_names = frozenset[str]()
        if isinstance(answer, RemoteError):
            refused_names = list_refused_names_if_all_are_preferred(answer, preferred)
        if not isinstance(answer, RemoteError) or not refused_names:
            break
        parts = [_close_attempt_and_prepare_next(part, tools, answer) for part in parts]
        preferred = {name: value for name, value in preferred.items() if name not in refused_names}
        plain_names |= refused_names
    if isinstance(answer, RemoteError):
        return _resolve_failed_create(parts, tools, answer, live)
    if plain_names:
        tools.accepted_plain_forms.remember_plain_fields(
            owner_part.step.type.prefix, owner_part.step.binding.api, plain_names
        )
    return _record_created_objects(parts, tools, answer, live)


def _write_create_intents_and_stamp_parts(
    parts: Sequence[_CreatePart], tools: ApplyTools
) -> list[_CreatePart]:
    # An intent that the next run could not resolve by a look-up is written at the last moment: a
    # run that is killed while it waits for a slot would leave it unknown although nothing was sent.
    before_slot = tools.slot.is_available_soon and all(
        _can_prove_absence(part, tools) for part in parts
    )
    intents = acquire_slot_and_write_stamped_intents_in_time(
        tools, *(part.call.intent for part in parts), before_slot=before_slot
    )
    return [part.with_intent(intent) for part, intent in zip(parts, intents, strict=True)]


def _call_create_with_remote_error_as_result(
    parts: Sequence[_CreatePart], tools: ApplyTools, body: RequestBody
) -> ServerObject | RemoteError:
    step, call = parts[0].step, parts[0].call
    try:
        return step.binding.create_object(tools.api, body, call.intent.id)
    except RemoteError as failure:
        return failure
    except SynapseApplyError:
        # The package changed while it was read: the body ended early, so nothing was created.
        for part in parts:
            closed = replace(part.call.intent, state=IntentState.FAILED)
            entry = build_audit_entry(tools, part.call.intent, "failed", None)
            tools.store.close_ended_intent(closed, part.step.record, entry)
        raise


def _close_attempt_and_prepare_next(
    part: _CreatePart, tools: ApplyTools, failure: RemoteError
) -> _CreatePart:
    """Close this attempt's intent as failed, and return the part with a new id for the next one."""
    closed = replace(part.call.intent, state=IntentState.FAILED)
    entry = build_audit_entry(tools, closed, "refused", failure.request_id)
    tools.store.close_ended_intent(closed, part.step.record, entry)
    return part.with_intent(replace(part.call.intent, id=str(uuid4())))


def _record_created_objects(
    parts: Sequence[_CreatePart], tools: ApplyTools, answer: ServerObject, live: LiveObjects
) -> tuple[Outcome, ...]:
    step, call = parts[0].step, parts[0].call
    try:
        echo = confirm_and_claim_object_left_by_call(
            step, tools, call, step.binding.decode(answer, tools.marks.with_address(step.address))
        )
    except RemoteError as failure:
        return _resolve_failed_create(parts, tools, failure, live)
    outcome, bootstrap = (
        record_done_call_or_note_recovery_file(step, tools, call, echo),
        step.binding.bootstrap,
    )
    member_answer = bootstrap.extract_member(answer) if bootstrap else None
    # Built only for members: copying `live` for each create would be quadratic.
    return (
        outcome,
        *(
            _record_created_member(
                part, tools, member_answer, {**live, step.address: echo.observed}
            )
            for part in parts[1:]
        ),
    )


def _can_prove_absence(part: _CreatePart, tools: ApplyTools) -> bool:
    """Whether a search could prove that the object was not created."""
    key = part.call.intent.natural_key
    proof = part.step.binding.determine_search_proof(key, tools.capabilities)
    return proof is Lookup.COMPLETE and part.call.intent.verb == CREATE_VERB


def _record_created_member(
    part: _CreatePart, tools: ApplyTools, member_answer: ServerObject | None, live: LiveObjects
) -> Outcome:
    """Record the member that a successful call has created with its owner."""
    step, request_id = part.step, tools.last_request_id()
    if member_answer is not None:
        observed: Observed | None = step.binding.decode(
            member_answer, tools.marks.with_address(step.address)
        )
    else:
        observed = lookup.find_only_object_by_key_or_none_on_failure(
            step, tools, part.call.intent.natural_key
        )
    if observed is None:
        diagnostics = (messages.build_member_not_shown_diagnostic(step),)
        return build_outcome(step, Result.UNKNOWN, diagnostics, request_id=request_id)
    call = _build_call_with_owner_id(part, tools, live)
    try:
        echo = confirm_and_claim_object_left_by_call(step, tools, call, observed)
    except RemoteError as failure:
        return build_unknown_outcome_leaving_intent_open(
            step,
            failure,
            messages.build_failure_diagnostic(
                step, failure, tools.marks.with_address(step.address)
            ),
        )
    return record_done_call_or_note_recovery_file(step, tools, call, echo)


def _build_call_with_owner_id(
    part: _CreatePart, tools: ApplyTools, live: LiveObjects
) -> PendingCall:
    """The member's call with its owner's id among the fields, now that there is one."""
    managed_fields = build_declared_fields_without_final_call(part.step, live)
    fields = replace_secrets_by_macs_or_leave_out(managed_fields, part.step.salt, tools.secrets)
    return replace(
        part.call, managed_fields=managed_fields, intent=replace(part.call.intent, fields=fields)
    )


def _resolve_failed_create(
    parts: Sequence[_CreatePart], tools: ApplyTools, failure: RemoteError, live: LiveObjects
) -> tuple[Outcome, ...]:
    causes = [
        messages.build_failure_diagnostic(
            part.step, failure, tools.marks.with_address(part.step.address)
        )
        for part in parts
    ]
    step, call = parts[0].step, parts[0].call
    if failure.effect is Effect.NONE:
        for part, cause in zip(parts[1:], causes[1:], strict=True):
            close_intent_of_call_without_effect(part.step, tools, part.call, failure, cause)
        is_key_taken = may_natural_key_be_taken(step, failure)
        if is_key_taken and step.change.replaces_package:
            causes[0] = causes[0].with_changes(hint=_PACKAGE_IS_FINAL)
        elif is_key_taken:
            return (
                record_or_adopt_conflicting_object_or_fail(step, tools, call, failure, causes[0]),
            )
        return (close_intent_of_call_without_effect(step, tools, call, failure, causes[0]),)
    observed_objects = _claim_leading_objects_seen_as_sent(parts, tools)
    if len(observed_objects) < len(parts):
        create_causes = zip(parts, causes, strict=True)
        return tuple(
            build_unknown_outcome_leaving_intent_open(part.step, failure, cause)
            for part, cause in create_causes
        )
    live = {**live, step.address: observed_objects[0]}
    outcomes = []
    for part, observed, cause in zip(parts, observed_objects, causes, strict=True):
        warnings = (messages.build_recovered_call_warning(part.step, cause),)
        call = part.call if part is parts[0] else _build_call_with_owner_id(part, tools, live)
        outcomes.append(
            record_object_left_or_note_recovery_file(
                part.step, tools, call, observed, failure.request_id, warnings
            )
        )
    return tuple(outcomes)


def _claim_leading_objects_seen_as_sent(
    parts: Sequence[_CreatePart], tools: ApplyTools
) -> list[Observed]:
    """The created objects in order, up to the first that is missing, differs or is another's."""
    observed_objects: list[Observed] = []
    for part in parts:
        observed = lookup.find_only_object_by_key_or_none_on_failure(
            part.step, tools, part.call.intent.natural_key
        )
        if observed is None or not lookup.may_be_object_of_create(
            part.step, part.call.managed_fields, observed, tools.secrets
        ):
            break
        if claim_object_or_find_other_owner(part.step, tools, observed) is not None:
            break
        observed_objects.append(observed)
    return observed_objects
