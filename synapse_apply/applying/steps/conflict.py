"""What becomes of a create that is refused because its natural key may be taken.

Servers say so with 409, or with 400 and words on the fields of the key. The words decide nothing:
the object is looked up. The create is never sent again.

An object whose digest is that of our package is what was wanted. Any other object that is as
declared is adopted if that was allowed; it is ours then, and its package counts as unverified. One
that differs, or would be run or locked as if it were ours, is left for a plan that shows it.
"""

from __future__ import annotations

from dataclasses import replace

from synapse_apply.applying import lookup, messages
from synapse_apply.applying.calls import (
    PendingCall,
    build_audit_entry,
    build_outcome,
    claim_object_or_find_other_owner,
    close_intent_of_call_without_effect,
    close_intent_or_note_recovery_file,
    record_object_left_or_note_recovery_file,
)
from synapse_apply.applying.records import (
    build_adopted_record,
    build_record_updated_where_both_sides_agree,
)
from synapse_apply.applying.step import ApplyTools, Step
from synapse_apply.applying.steps.plain_forms import BAD_REQUEST, list_top_level_names_of_refusal
from synapse_apply.kinds.search import list_by_natural_key_or_empty_if_unsearchable
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.observed import Lookup, Observed
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import IntentState

_INVALID_STATUSES = frozenset({BAD_REQUEST, 422})


# A 409 is done where the object's digest is ours. With `--adopt` an object is taken over that shows
# every field as it was sent. One that differs, hides a secret, or would be run or locked, needs a
# plan that shows it.
def record_or_adopt_conflicting_object_or_fail(
    step: Step, tools: ApplyTools, call: PendingCall, failure: RemoteError, cause: Diagnostic
) -> Outcome:
    """The outcome of a refused create: done, adopted if allowed, or failed with a hint."""
    observed, is_absent = _find_only_object_and_if_none_is_certain(
        step, tools, call.intent.natural_key
    )
    if observed is None:
        diagnostic = _build_no_match_diagnostic(step, call, failure, cause, is_absent=is_absent)
        return close_intent_of_call_without_effect(step, tools, call, failure, diagnostic)
    # Another run, or an earlier call of ours whose answer was lost, has published the same package.
    if call.intent.digest and lookup.get_published_digest_or_none(observed) == call.intent.digest:
        warnings = (messages.build_already_published_warning(step, cause),)
        return record_object_left_or_note_recovery_file(
            step, tools, call, observed, failure.request_id, warnings
        )
    owner = claim_object_or_find_other_owner(step, tools, observed)
    if owner is not None:
        return close_intent_of_call_without_effect(
            step,
            tools,
            call,
            failure,
            messages.build_recorded_conflict_diagnostic(cause, observed, owner),
        )
    differing_paths = [
        path
        for path in lookup.list_fields_not_shown_as_sent(
            step, call.managed_fields, observed, tools.secrets
        )
        if not lookup.is_exempt_from_comparison_at_adoption(step, path, observed)
    ]
    if tools.may_adopt and not differing_paths and _needs_adoption_nothing_further(step, observed):
        return _record_adoption_in_place_of_create(step, tools, call, failure, observed)
    diagnostic = messages.build_visible_conflict_diagnostic(
        step, cause, observed, ", ".join(map(format_field_path, differing_paths))
    )
    return close_intent_of_call_without_effect(step, tools, call, failure, diagnostic)


def may_natural_key_be_taken(step: Step, failure: RemoteError) -> bool:
    """Whether a refused create may have failed as its natural key is taken."""
    if failure.status_code == messages.CONFLICT:
        return True
    names = list_top_level_names_of_refusal(failure)
    return failure.status_code in _INVALID_STATUSES and bool(names & {*step.type.key_fields, ""})


def _find_only_object_and_if_none_is_certain(
    step: Step, tools: ApplyTools, key: str
) -> tuple[Observed | None, bool]:
    """The only object with this key, and whether it is certain that this token sees none."""
    try:
        hits = list_by_natural_key_or_empty_if_unsearchable(
            tools.api, step.binding, key, tools.capabilities, tools.marks.with_address(step.address)
        )
    except RemoteError:
        return None, False
    # Objects are visible, so it is not certain that none has the key.
    if hits:
        return (hits[0] if len(hits) == 1 else None), False
    return None, step.binding.determine_search_proof(key, tools.capabilities) is Lookup.COMPLETE


def _build_no_match_diagnostic(
    step: Step, call: PendingCall, failure: RemoteError, cause: Diagnostic, *, is_absent: bool
) -> Diagnostic:
    """The finding where the look-up gave no single object; a 400 may have other reasons."""
    if failure.status_code == messages.CONFLICT:
        return messages.build_hidden_conflict_diagnostic(step, cause, is_search_complete=is_absent)
    form = call.intent.natural_key.partition("=")[0]
    if (
        is_absent
        and form in step.type.global_keys
        and form in list_top_level_names_of_refusal(failure)
    ):
        return messages.build_maybe_taken_diagnostic(step, cause, form)
    return cause


def _needs_adoption_nothing_further(step: Step, observed: Observed) -> bool:
    """Whether adopting needs nothing else: no other package, companion, run or final call."""
    package = step.desired.package if step.desired else None
    is_other_content = package is not None and lookup.shows_other_package(observed, package.digest)
    return not (
        is_other_content or step.companion or step.has_final_call or step.change.verification
    )


def _record_adoption_in_place_of_create(
    step: Step, tools: ApplyTools, call: PendingCall, failure: RemoteError, observed: Observed
) -> Outcome:
    tools.on_observed(step.address, observed)
    change = replace(step.change, action=Action.ADOPT, fields=())
    step = replace(step, change=change, observed=observed, natural_key=call.intent.natural_key)
    record = build_record_updated_where_both_sides_agree(
        step, build_adopted_record(step, observed, tools), tools
    )
    # The object is ours from here on: the approvals were used for that.
    closed = replace(
        call.intent, state=IntentState.FAILED, remote_id=observed.remote_id, approvals=()
    )
    warning = messages.build_adopted_warning(step, observed, failure.request_id)
    outcome = build_outcome(step, Result.DONE, (warning,), observed.remote_id, failure.request_id)
    entry = build_audit_entry(tools, closed, "adopted", failure.request_id)
    return close_intent_or_note_recovery_file(tools, closed, record, entry, outcome)
