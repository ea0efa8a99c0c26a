"""What is asked of a rollout by a form or by a JSON document, and for whom it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from http import HTTPStatus
from typing import Any

from synapse_apply.controller.page.entry.refusals import RequestRefused
from synapse_apply.controller.page.entry.visitor import Visitor, build_right_refusal
from synapse_apply.controller.page.people.action_requests import (
    optional_text,
    parse_json_object,
    require_known_members,
    require_usable_reason,
    single_field,
)
from synapse_apply.controller.ports import ActionRefused, RolloutActions
from synapse_apply.controller.rows import RolloutTargetRow
from synapse_apply.controller.settings import Right
from synapse_apply.model.frozen import frozen

_MAX_NUMBER = 10**12


class RolloutVerb(Enum):
    """What can be asked of a rollout; the value stands in paths."""

    APPROVE = "approve"
    RESUME = "resume"
    SKIP = "skip"
    ABORT = "abort"

    @property
    def is_of_wave(self) -> bool:
        """Whether it concerns one wave alone."""
        return self in {RolloutVerb.APPROVE, RolloutVerb.SKIP}

    @property
    def needs_reason(self) -> bool:
        return self in {RolloutVerb.SKIP, RolloutVerb.ABORT}


@frozen
class RolloutRequest:
    """What is asked of a rollout; `number` is that of the revision, and `wave` what was shown.

    `wave` is 0 for what concerns the rollout as a whole.
    """

    verb: RolloutVerb
    rollout: str
    number: int
    wave: int = 0
    reason: str = ""


def read_valid_rollout_form(
    verb: RolloutVerb, rollout: str, fields: Mapping[str, Sequence[str]]
) -> RolloutRequest:
    """What a form on a rollout's page asks for. RequestRefused where a field makes no sense."""
    number = _parse_number(single_field(fields, "number"), "number")
    wave = _parse_number(single_field(fields, "wave"), "wave") if verb.is_of_wave else 0
    return RolloutRequest(
        verb, rollout, number, wave, _require_reason(verb, single_field(fields, "reason"))
    )


def read_rollout_request(verb: RolloutVerb, rollout: str, body: bytes) -> RolloutRequest:
    """What a JSON document asks for. RequestRefused where it makes no sense.

    Members: `number`, `wave` (approve, skip), `reason` (skip, abort); another one is an error.
    """
    document = parse_json_object(body)
    allowed = {"number"} | ({"wave"} if verb.is_of_wave else set())
    require_known_members(document, allowed | ({"reason"} if verb.needs_reason else set()))
    return RolloutRequest(
        verb,
        rollout,
        _number_member(document, "number"),
        _number_member(document, "wave") if verb.is_of_wave else 0,
        _require_reason(verb, optional_text(document, "reason")),
    )


def carry_out_rollout(request: RolloutRequest, visitor: Visitor, actions: RolloutActions) -> None:
    """Do what somebody asks of a rollout. RequestRefused where they may not, or it cannot be done.

    Whoever may approve rows of every target that it concerns may decide: those of the wave, or of
    the whole rollout.
    """
    if visitor.store.find_begun_rollout_even_if_ended(request.rollout) is None:
        raise RequestRefused.from_words(
            HTTPStatus.NOT_FOUND,
            "Nothing is known by this name",
            f"There is no rollout {request.rollout} that you may read.",
        )
    scope = f"wave {request.wave} of {request.rollout}" if request.wave else request.rollout
    rows = visitor.whole_store.list_rollout_targets(request.rollout, request.wave or None)
    if not rows:
        raise RequestRefused.from_words(
            HTTPStatus.CONFLICT, "There is nothing to decide", f"{scope} has no target."
        )
    if not can_approve_each_target(visitor, rows):
        raise build_right_refusal(Right.APPROVE, f"every target of {scope}", visitor)
    try:
        _call_action_of_verb(request, visitor.identity, actions)
    except ActionRefused as problem:
        raise RequestRefused(HTTPStatus.CONFLICT, *problem.diagnostics) from None


def can_approve_each_target(visitor: Visitor, rows: Sequence[RolloutTargetRow]) -> bool:
    """Whether somebody may approve rows of each of these targets; of none nobody may."""
    return (
        visitor.person is not None
        and bool(rows)
        and all(Right.APPROVE in visitor.list_rights(row.target) for row in rows)
    )


def _call_action_of_verb(request: RolloutRequest, who: str, actions: RolloutActions) -> None:
    rollout, number, wave = request.rollout, request.number, request.wave
    match request.verb:
        case RolloutVerb.APPROVE:
            actions.approve_wave_or_refuse(who, rollout, number, wave)
        case RolloutVerb.RESUME:
            actions.resume_rollout_or_refuse(who, rollout, number)
        case RolloutVerb.SKIP:
            actions.skip_wave_or_refuse(who, rollout, number, wave, request.reason)
        case RolloutVerb.ABORT:
            actions.abort_rollout_or_refuse(who, rollout, number, request.reason)


def _require_reason(verb: RolloutVerb, text: str) -> str:
    return require_usable_reason(text, is_needed=verb.needs_reason)


def _parse_number(text: str, name: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= len(f"{_MAX_NUMBER}")
    return _require_number(int(text) if is_number else None, name)


def _number_member(document: Mapping[str, Any], name: str) -> int:
    return _require_number(document.get(name), name)


def _require_number(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MAX_NUMBER:
        raise RequestRefused.from_words(
            HTTPStatus.BAD_REQUEST,
            "Not a number",
            f"`{name}` is a whole number from 1 on: that of the "
            f"{'wave' if name == 'wave' else 'revision'} that was shown.",
        )
    return value
