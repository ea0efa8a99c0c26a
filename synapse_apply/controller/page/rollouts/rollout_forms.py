"""What a rollout's page offers its reader to send, and what it says once that was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from synapse_apply.controller.page.entry.form_tokens import FormTokens
from synapse_apply.controller.page.entry.visitor import Visitor
from synapse_apply.controller.page.rollouts.rollout_requests import (
    RolloutVerb,
    can_approve_each_target,
)
from synapse_apply.controller.page.rollouts.rollout_views import RolloutView
from synapse_apply.controller.rows import RolloutRow, RolloutState, RolloutTargetRow

NOTICES = {
    RolloutVerb.APPROVE: "Approved: the wave begins with the next round.",
    RolloutVerb.RESUME: "Resumed: what failed is tried again, and failures count anew.",
    RolloutVerb.SKIP: "Skipped: the wave is closed without evidence.",
    RolloutVerb.ABORT: "Aborted: this revision goes no further. What has it keeps it.",
}


class RolloutForms(NamedTuple):
    """Which forms a reader of a rollout's page has; `token` is "" for who has none.

    `notice` says what they have just done, "" for nothing.
    """

    verbs: frozenset[RolloutVerb]
    token: str
    notice: str


def read_rollout_forms(
    visitor: Visitor, view: RolloutView, form_tokens: FormTokens, parameters: Mapping[str, str]
) -> RolloutForms | None:
    """The forms for what can be done now, and its reader may; `parameters` are of the address.

    None for a rollout that has not begun.
    """
    row = view.summary.row
    if row is None:
        return None
    possible = possible_verbs(row) if visitor.person else frozenset()
    members = _all_targets(visitor, view, row) if possible else ()
    of_wave = [member for member in members if member.wave == row.wave]
    is_of_all = can_approve_each_target(visitor, members)
    is_of_wave = bool(of_wave) and (is_of_all or can_approve_each_target(visitor, of_wave))
    verbs = frozenset(verb for verb in possible if (is_of_wave if verb.is_of_wave else is_of_all))
    purpose = build_form_token_purpose(row.name)
    token = form_tokens.build_token(visitor.identity, purpose) if verbs else ""
    return RolloutForms(verbs, token, _proven_notice(form_tokens, visitor, row, parameters))


def _all_targets(
    visitor: Visitor, view: RolloutView, row: RolloutRow
) -> Sequence[RolloutTargetRow]:
    """The targets of a rollout, also those that its reader may not see."""
    if view.is_whole:  # thousands were read a moment ago
        return [cell.row for cell in view.cells]
    return visitor.whole_store.list_rollout_targets(row.name)


def possible_verbs(row: RolloutRow) -> frozenset[RolloutVerb]:
    """What a rollout could be asked in its state, whoever asks."""
    match row.state:
        case RolloutState.RUNNING:
            return frozenset({RolloutVerb.SKIP, RolloutVerb.ABORT})
        case RolloutState.WAITING:
            return frozenset({RolloutVerb.APPROVE, RolloutVerb.ABORT})
        case RolloutState.STOPPED:
            return frozenset({RolloutVerb.RESUME, RolloutVerb.SKIP, RolloutVerb.ABORT})
    return frozenset()


def build_form_token_purpose(rollout: str) -> str:
    """What a token of the forms on a rollout's page is for."""
    return f"forms of rollout {rollout}"


def notice_purpose(verb: RolloutVerb, rollout: str) -> str:
    """What a token in an address is for that says what was just done."""
    return f"notice of {verb.value} rollout {rollout}"


def _proven_notice(
    form_tokens: FormTokens, visitor: Visitor, row: RolloutRow, parameters: Mapping[str, str]
) -> str:
    """What was just done, "" where the address does not prove that this reader did it."""
    verb = next((verb for verb in RolloutVerb if verb.value == parameters.get("done")), None)
    if verb is None or not visitor.identity:
        return ""
    purpose = notice_purpose(verb, row.name)
    proof = parameters.get("proof", "")
    return NOTICES[verb] if form_tokens.is_valid(proof, visitor.identity, purpose) else ""
