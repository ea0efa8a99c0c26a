"""What a form, or a JSON document of the API, asks to do with a target or a rollout."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from synapse_apply.controller.loop.actions import RolloutActions
from synapse_apply.controller.page.visitor import RequestRefused, Visitor, build_right_refusal
from synapse_apply.controller.ports import ActionRefused
from synapse_apply.controller.rows import RolloutTargetRow, TargetName
from synapse_apply.controller.settings import DAY, HOUR, Right
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_values import OddJsonError, parse_strict_json
from synapse_apply.views.sanitize import sanitize

MAX_BODY_SIZE = 256 * 1024
MAX_ROWS = 2000
DEFAULT_PAUSE_SECONDS = DAY
_MAX_PAUSE_SECONDS = 366 * DAY
_MAX_REASON_LENGTH, _MAX_SCOPE_LENGTH = 500, 200
_DIGEST = re.compile(r"row1:[0-9a-f]{64}")


class Verb(Enum):
    """What can be asked for; the value stands in paths."""

    RECONCILE = "reconcile"
    PAUSE = "pause"
    RESUME = "resume"
    APPROVE = "approve"
    REJECT = "reject"


RIGHTS = {
    Verb.RECONCILE: Right.RECONCILE,
    Verb.PAUSE: Right.PAUSE,
    Verb.RESUME: Right.PAUSE,
    Verb.APPROVE: Right.APPROVE,
    Verb.REJECT: Right.APPROVE,
}


@frozen
class ActionRequest:
    """What is asked for. `name` is the target; of a pause and its end None, which have a `scope`.

    `row_digests` are those that were shown; `until` is a wall-clock time, 0 where there is none.
    """

    verb: Verb
    name: TargetName | None = None
    scope: str = ""
    row_digests: tuple[str, ...] = ()
    reason: str = ""
    until: float = 0.0


def parse_form_fields(body: bytes) -> Mapping[str, Sequence[str]]:
    """The fields of a form (application/x-www-form-urlencoded); RequestRefused for an odd one."""
    try:
        fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body),
            errors="strict", max_num_fields=MAX_ROWS + 20,
        )  # fmt: skip
    except ValueError:
        raise _bad_request(
            "The form cannot be read", "It has too many fields, or odd ones."
        ) from None
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)
    return values


def read_valid_form_request(
    verb: Verb, name: TargetName, fields: Mapping[str, Sequence[str]], now: float
) -> ActionRequest:
    """What a form on a target's page asks for. RequestRefused where a field makes no sense."""
    reason = _require_reason(verb, single_field(fields, "reason"))
    scope = _require_scope(single_field(fields, "scope") or str(name))
    match verb:
        case Verb.PAUSE:
            text = single_field(fields, "seconds") or f"{DEFAULT_PAUSE_SECONDS}"
            is_number = text.isascii() and text.replace(".", "", 1).isdigit() and len(text) <= 12
            if not is_number or not 0 < float(text) <= _MAX_PAUSE_SECONDS:
                raise _bad_request("Not a duration", "The pause has no duration that makes sense.")
            seconds = float(text)
            return ActionRequest(verb, scope=scope, reason=reason, until=now + seconds)
        case Verb.RESUME:
            return ActionRequest(verb, scope=scope)
        case Verb.APPROVE | Verb.REJECT:
            digests = _require_digests(fields.get("row", ()))
            return ActionRequest(verb, name, row_digests=digests, reason=reason)
    return ActionRequest(verb, name)


def read_valid_json_request(verb: Verb, body: bytes, now: float) -> ActionRequest:
    """What a JSON document asks for. RequestRefused where it makes no sense.

    Members: `target` (reconcile, approve, reject), `scope` (pause, resume), `rows`, `reason`,
    `until` (RFC 3339) or `seconds`; another one is an error.
    """
    document = parse_json_object(body)
    require_known_members(document, _MEMBERS[verb])
    reason = _require_reason(verb, optional_text(document, "reason"))
    match verb:
        case Verb.PAUSE:
            scope = _require_scope(optional_text(document, "scope"))
            return ActionRequest(
                verb, scope=scope, reason=reason, until=_read_pause_end(document, now)
            )
        case Verb.RESUME:
            return ActionRequest(verb, scope=_require_scope(optional_text(document, "scope")))
    source, separator, target = optional_text(document, "target").partition("/")
    if not (source and separator and target):
        raise _bad_request("No target", "`target` is SOURCE/TARGET.")
    name = TargetName(source, target)
    if verb is Verb.RECONCILE:
        return ActionRequest(verb, name)
    rows = document.get("rows", [])
    if not isinstance(rows, list):
        raise _bad_request("Not a list", "`rows` is a list of digests.")
    return ActionRequest(verb, name, row_digests=_require_digests(rows), reason=reason)


_MEMBERS = {
    Verb.RECONCILE: {"target"},
    Verb.PAUSE: {"scope", "reason", "until", "seconds"},
    Verb.RESUME: {"scope"},
    Verb.APPROVE: {"target", "rows"},
    Verb.REJECT: {"target", "rows", "reason"},
}


def parse_json_object(body: bytes) -> dict[str, Any]:
    """A body that is a JSON object; RequestRefused for another one."""
    try:
        document = parse_strict_json(body)
    except OddJsonError as problem:
        raise _bad_request("The body cannot be read", f"As JSON, {problem}.") from None
    if not isinstance(document, dict):
        raise _bad_request("The body cannot be read", "It is not a JSON object in UTF-8.")
    return document


def require_known_members(document: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Raise RequestRefused for a member of another name: its sender means something by it."""
    unknown = sorted(document.keys() - set(allowed))
    if unknown:
        raise _bad_request(
            "Unknown member",
            f"`{sanitize(unknown[0][:80])}`; known are {', '.join(sorted(allowed))}.",
        )


def single_field(fields: Mapping[str, Sequence[str]], name: str) -> str:
    """The value of a form's field, "" where it is left out; RequestRefused for several."""
    values = fields.get(name, ())
    if len(values) > 1:
        raise _bad_request("The form cannot be read", f"It has several fields `{name}`.")
    return next(iter(values), "")


def optional_text(document: Mapping[str, Any], name: str) -> str:
    """A member that is a text, "" where it is left out; RequestRefused for another one."""
    value = document.get(name, "")
    if not isinstance(value, str):
        raise _bad_request("Not a text", f"`{name}` is a text.")
    return value


def _require_scope(text: str) -> str:
    if not 0 < len(text) <= _MAX_SCOPE_LENGTH or sanitize(text) != text:
        raise _bad_request("No scope", "`scope` is SOURCE/TARGET or a pattern of it, as `acme/*`.")
    return text


def _require_reason(verb: Verb, text: str) -> str:
    return require_usable_reason(text, is_needed=verb in {Verb.PAUSE, Verb.REJECT})


def require_usable_reason(text: str, *, is_needed: bool) -> str:
    """A reason on one line; RequestRefused for one that is missing, too long or odd."""
    reason = " ".join(text.split())
    if is_needed and not reason:
        raise _bad_request("No reason", "Others will ask why.", "Say why in `reason`.")
    if len(reason) > _MAX_REASON_LENGTH or sanitize(reason) != reason:
        raise _bad_request(
            "The reason cannot be used",
            f"It has at most {_MAX_REASON_LENGTH} characters, none of which is invisible.",
        )
    return reason


def _require_digests(values: Sequence[Any]) -> tuple[str, ...]:
    digests = tuple(dict.fromkeys(value for value in values if isinstance(value, str)))
    if not values:
        raise _bad_request("No row", "No row was chosen.", "Choose the rows that are meant.")
    if len(values) > MAX_ROWS or not all(
        isinstance(value, str) and _DIGEST.fullmatch(value) for value in values
    ):
        raise _bad_request(
            "No digest of a row",
            f"A row is named by `row1:` and 64 hex digits, at most {MAX_ROWS:,} at once.",
        )
    return digests


def _read_pause_end(document: Mapping[str, Any], now: float) -> float:
    """When a pause ends, by `until` or `seconds`; a day from now where neither says."""
    if "until" in document and "seconds" in document:
        raise _bad_request("Two ends", "`until` and `seconds` both say when the pause ends.")
    if "until" in document:
        return _require_pause_end(_require_zoned_time(optional_text(document, "until")), now)
    seconds = document.get("seconds", DEFAULT_PAUSE_SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise _bad_request("Not a number", "`seconds` is a number.")
    return _require_pause_end(now + min(float(seconds), 2 * _MAX_PAUSE_SECONDS), now)


def _require_zoned_time(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
        seconds = when.astimezone(UTC).timestamp() if when.tzinfo is not None else None
    except (ValueError, OverflowError):
        seconds = None
    if seconds is None:
        raise _bad_request(
            "Not a time", "`until` is a time with its zone, as 2026-11-30T09:00:00Z."
        )
    return seconds


def _require_pause_end(ends_at: float, now: float) -> float:
    if not now < ends_at <= now + _MAX_PAUSE_SECONDS:
        raise _bad_request(
            "The pause would not end, or has ended",
            "It ends after now and within a year.",
            "A pause for good stands in controller.yaml: `paused: {reason: ...}` of a target.",
        )
    return ends_at


def _bad_request(summary: str, detail: str, hint: str = "") -> RequestRefused:
    return RequestRefused.from_words(HTTPStatus.BAD_REQUEST, summary, detail, hint)


PAUSE_CHOICES = {
    "an hour": HOUR,
    "4 hours": 4 * HOUR,
    "a day": DAY,
    "3 days": 3 * DAY,
    "a week": 7 * DAY,
    "4 weeks": 28 * DAY,
}
NOTICES = {
    Verb.RECONCILE: "It is looked at as soon as a worker is free.",
    Verb.PAUSE: "Paused: no call begins any more.",
    Verb.RESUME: "The pause has ended: what waited for it goes on.",
    Verb.APPROVE: "Approved. It is done once enough people approve it and nothing forbids it.",
    Verb.REJECT: "Rejected: it is not done, and approvals of it are taken back.",
}


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
        verb, rollout, number, wave, _reason_of_rollout(verb, single_field(fields, "reason"))
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
        _reason_of_rollout(verb, optional_text(document, "reason")),
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


def _reason_of_rollout(verb: RolloutVerb, text: str) -> str:
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
