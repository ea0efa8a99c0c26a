"""What a form, or a JSON document of the API, asks for, whose are taken, and what may be done."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from synapse_apply.controller import verbs
from synapse_apply.controller.loop.rollbacks import PlannedRollback
from synapse_apply.controller.page.addresses import read_number
from synapse_apply.controller.page.visitor import (
    RequestRefused,
    Visitor,
    forbidden,
    is_from_own_page,
    not_found,
)
from synapse_apply.controller.ports import ActionRefused
from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.rules.access import TOKEN_PREFIX
from synapse_apply.controller.settings import DAY, HOUR
from synapse_apply.controller.verbs import MAX_PAUSE_SECONDS, Subject, Verb
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_values import OddJsonError, parse_strict_json
from synapse_apply.views.sanitize import sanitize

MAX_BODY_SIZE = 256 * 1024
MAX_ROWS = 2000
DEFAULT_PAUSE_SECONDS = DAY
PAUSE_CHOICES = {
    "an hour": HOUR,
    "4 hours": 4 * HOUR,
    "a day": DAY,
    "3 days": 3 * DAY,
    "a week": 7 * DAY,
    "4 weeks": 28 * DAY,
}
_MAX_SHOWN_REFUSALS = 20
_MAX_REASON_LENGTH, _MAX_SCOPE_LENGTH, _MAX_NUMBER = 500, 200, 10**12
_DIGEST = re.compile(r"row1:[0-9a-f]{64}")
_SHOWN_ROW = re.compile(
    rf"(?P<group>[0-9]+) (?P<digest>{_DIGEST.pattern}) /targets/(?P<source>[^/]+)/(?P<target>[^/]+)"
)
_REVISION, _PLAN = re.compile("[0-9a-f]{7,64}"), re.compile("([0-9a-f]{64})?")
_NO_TARGET = TargetName("", "")


@frozen
class Action:
    """What is asked for; the subject of the verb says which of the first four fields tell of what.

    `number` is that of the revision, and `wave` what was shown, as `row_digests` are; `wave` is 0
    for the rollout as a whole. `until` is a wall-clock time, 0 where there is none. `revision` are
    the first digits of a commit at least, `plan` the digest of a plan, "" for one not yet seen.
    """

    verb: Verb
    target: TargetName = _NO_TARGET
    scope: str = ""
    rollout: str = ""
    number: int = 0
    wave: int = 0
    row_digests: tuple[str, ...] = ()
    reason: str = ""
    until: float = 0.0
    revision: str = ""
    plan: str = ""


class Form:
    """The fields of a form (application/x-www-form-urlencoded); RequestRefused for an odd one."""

    def __init__(self, body: bytes) -> None:
        try:
            fields = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body),
                errors="strict", max_num_fields=MAX_ROWS + 20,
            )  # fmt: skip
        except ValueError:
            raise _bad_request(
                "The form cannot be read", "It has too many or unexpected fields."
            ) from None
        self._values: dict[str, list[str]] = {}
        for name, value in fields:
            self._values.setdefault(name, []).append(value)

    def text(self, name: str) -> str:
        """The value of a field, "" where it is left out."""
        values = self._values.get(name, ())
        if len(values) > 1:
            raise _bad_request(
                "The form cannot be read", f"It has the field `{name}` more than once."
            )
        return next(iter(values), "")

    def number(self, name: str) -> int | None:
        """A whole number, None for another text."""
        return read_number({name: self.text(name)}, name, len(f"{_MAX_NUMBER}"))

    def rows(self) -> Sequence[Any]:
        """The digests of the rows that are chosen."""
        return self.list_values("row")

    def list_values(self, name: str) -> Sequence[str]:
        """The values of a field that may be there more than once."""
        return self._values.get(name, ())

    def pause_end(self, now: float) -> float:
        """When a pause ends, by `seconds`; a day from now where it is left out."""
        text = self.text("seconds") or f"{DEFAULT_PAUSE_SECONDS}"
        is_number = text.isascii() and text.replace(".", "", 1).isdigit() and len(text) <= 12
        if not is_number or not 0 < float(text) <= MAX_PAUSE_SECONDS:
            raise _bad_request("Invalid duration", "The duration of the pause is not valid.")
        return now + float(text)


class Document:
    """A JSON object of the members that a verb takes; RequestRefused for another one.

    A member of another name is an error, too: its sender means something by it.
    """

    def __init__(self, verb: Verb, body: bytes) -> None:
        try:
            document = parse_strict_json(body)
        except OddJsonError as problem:
            raise _bad_request("The body cannot be read", f"As JSON, {problem}.") from None
        if not isinstance(document, dict):
            raise _bad_request("The body cannot be read", "It is not a JSON object in UTF-8.")
        known = {*verb.subject.value, *verb.members}
        if unknown := sorted(document.keys() - known):
            raise _bad_request(
                "Unknown field",
                f"The body has the unknown field `{sanitize(unknown[0][:80])}`; known fields are "
                f"{', '.join(sorted(known))}.",
            )
        self._members: Mapping[str, Any] = document

    def text(self, name: str) -> str:
        """A member that is a text, "" where it is left out."""
        value = self._members.get(name, "")
        if not isinstance(value, str):
            raise _bad_request("Invalid text", f"`{name}` must be a string.")
        return value

    def number(self, name: str) -> int | None:
        """A whole number, None for anything else."""
        value = self._members.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def rows(self) -> Sequence[Any]:
        """The digests of rows."""
        rows = self._members.get("rows", [])
        if not isinstance(rows, list):
            raise _bad_request("Invalid list", "`rows` must be a list of digests.")
        return rows

    def pause_end(self, now: float) -> float:
        """When a pause ends, by `until` or `seconds`; a day from now where neither says."""
        if "until" in self._members and "seconds" in self._members:
            raise _bad_request("Two ends of one pause", "Set either `until` or `seconds`.")
        if "until" in self._members:
            end = _require_zoned_time(self.text("until"))
        else:
            seconds = self._members.get("seconds", DEFAULT_PAUSE_SECONDS)
            if isinstance(seconds, bool) or not isinstance(seconds, int | float):
                raise _bad_request("Invalid number", "`seconds` must be a number.")
            end = now + min(float(seconds), 2 * MAX_PAUSE_SECONDS)
        if not now < end <= now + MAX_PAUSE_SECONDS:
            raise _bad_request(
                "Invalid end of the pause",
                "The pause must end in the future, within a year.",
                "For a permanent pause, set `paused: {reason: ...}` for the target in "
                "controller.yaml.",
            )
        return end


def read_action(
    verb: Verb, given: Form | Document, now: float, named: TargetName | str = ""
) -> Action:
    """What is asked for of the target or rollout that the path names, if it names one.

    RequestRefused where a field makes no sense.
    """
    reason = _read_reason(verb, given)
    if isinstance(named, str) and verb.is_of_rollout:
        number, wave = (
            _require_number(given.number(name), name) if name in verb.subject.value else 0
            for name in Subject.WAVE.value
        )
        return Action(verb, rollout=named, number=number, wave=wave, reason=reason)
    if verb.subject is Subject.SCOPE:
        scope = given.text("scope") or str(named)
        if not 0 < len(scope) <= _MAX_SCOPE_LENGTH or sanitize(scope) != scope:
            raise _bad_request(
                "The scope is missing",
                "`scope` must be SOURCE/TARGET or a pattern, such as `acme/*`.",
            )
        until = given.pause_end(now) if "until" in verb.members else 0.0
        return Action(verb, scope=scope, reason=reason, until=until)
    if isinstance(named, str):
        source, separator, target = given.text("target").partition("/")
        if not (source and separator and target):
            raise _bad_request("The target is missing", "`target` must be SOURCE/TARGET.")
        named = TargetName(source, target)
    digests = _require_digests(given.rows()) if "rows" in verb.members else ()
    action = Action(verb, named, row_digests=digests, reason=reason)
    if "revision" not in verb.members:
        return action
    revision, plan = given.text("revision").lower(), given.text("plan")
    if not _REVISION.fullmatch(revision) or not _PLAN.fullmatch(plan):
        raise _bad_request(
            "Invalid revision or plan",
            "`revision` must be a commit id, or at least its first 7 digits; `plan` is the digest "
            "of the plan that you saw.",
        )
    return replace(action, revision=revision, plan=plan)


def read_actions_on_shown_rows(verb: Verb, given: Form) -> list[Action]:
    """What is asked for of the rows of many targets in a form: one action for each target.

    Each `row` is the number of a group of rows, a digest and the path of a target, as it was shown;
    `group` are the numbers of those that are chosen. RequestRefused as for `read_action`.
    """
    reason, chosen = _read_reason(verb, given), {*given.list_values("group")}
    digests_of: dict[TargetName, list[str]] = {}
    for text in given.rows():
        shown = _SHOWN_ROW.fullmatch(text)
        if shown is None:
            raise _bad_request("Invalid row", "The digest is not in the form that the page shows.")
        if shown["group"] in chosen:
            name = TargetName(unquote(shown["source"]), unquote(shown["target"]))
            digests_of.setdefault(name, []).append(shown["digest"])
    if not digests_of:
        _require_digests(())
    return [
        Action(verb, name, row_digests=_require_digests(digests), reason=reason)
        for name, digests in digests_of.items()
    ]


def _read_reason(verb: Verb, given: Form | Document) -> str:
    """The reason, where the verb takes one; an approval needs none."""
    text = given.text("reason") if "reason" in verb.members else ""
    is_optional = "reason" not in verb.members or verb is verbs.APPROVE
    return "" if is_optional and not text.strip() else _require_reason(text)


def _require_reason(text: str) -> str:
    """A reason on one line; RequestRefused for one that is missing, too long or odd."""
    reason = " ".join(text.split())
    if not reason:
        raise _bad_request(
            "The reason is missing",
            "Other people need to know why.",
            "Write the reason in `reason`.",
        )
    if len(reason) > _MAX_REASON_LENGTH or sanitize(reason) != reason:
        raise _bad_request(
            "Invalid reason",
            f"It must have at most {_MAX_REASON_LENGTH} characters, and no invisible ones.",
        )
    return reason


def _require_digests(values: Sequence[Any]) -> tuple[str, ...]:
    if not values:
        raise _bad_request(
            "No row was selected", "The request contains no row.", "Select at least one row."
        )
    if len(values) > MAX_ROWS or not all(
        isinstance(value, str) and _DIGEST.fullmatch(value) for value in values
    ):
        raise _bad_request(
            "Invalid row digest",
            f"A digest is `row1:` and 64 hex digits, and a request has at most {MAX_ROWS:,}.",
        )
    return tuple(dict.fromkeys(values))


def _require_number(value: int | None, name: str) -> int:
    if value is None or not 0 < value <= _MAX_NUMBER:
        raise _bad_request(
            "Invalid number",
            f"`{name}` must be the number of the {'wave' if name == 'wave' else 'revision'} that "
            "you saw, a whole number from 1.",
        )
    return value


def _require_zoned_time(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
        seconds = when.astimezone(UTC).timestamp() if when.tzinfo is not None else None
    except (ValueError, OverflowError):
        seconds = None
    if seconds is None:
        raise _bad_request(
            "Invalid time", "`until` must be a time with its zone, such as 2026-11-30T09:00:00Z."
        )
    return seconds


def _bad_request(summary: str, detail: str, hint: str = "") -> RequestRefused:
    return RequestRefused(HTTPStatus.BAD_REQUEST, error_finding(summary, detail, hint))


def carry_out(action: Action, visitor: Visitor) -> PlannedRollback | None:
    """Do what somebody asks for; what has to be seen before it is done, None once it is.

    RequestRefused where they may not, or it cannot be done now.
    """
    if action.verb.is_of_rollout:
        _require_right_on_rollout(action, visitor)
    elif action.verb.subject is Subject.TARGET:
        visitor.require_right_on(action.target, action.verb.right)
    else:
        visitor.require_pause_of_scope(action.scope)
    who, people = visitor.identity, visitor.loop.get_people_actions()
    target, digests, reason = action.target, action.row_digests, action.reason
    rollout, number, wave = action.rollout, action.number, action.wave
    try:
        match action.verb:
            case verbs.RECONCILE:
                people.reconcile_soon_or_refuse(who, target)
            case verbs.PAUSE:
                people.pause_scope_or_refuse(who, action.scope, reason, action.until)
            case verbs.RESUME:
                people.resume_scope_or_refuse(who, action.scope)
            case verbs.APPROVE:
                people.approve_rows_or_refuse(who, target, digests, visitor.groups, reason)
            case verbs.APPLY_NOW:
                people.apply_now_or_refuse(who, target, digests, visitor.groups)
            case verbs.REJECT:
                people.reject_rows_or_refuse(who, target, digests, reason)
            case verbs.ROLL_BACK:
                revision, plan = action.revision, action.plan
                planned = people.roll_back_or_refuse(who, target, revision, plan, reason)
                return visitor.store.tell(target.source, planned)
            case verbs.APPROVE_WAVE:
                people.approve_wave_or_refuse(who, rollout, number, wave)
            case verbs.RESUME_ROLLOUT:
                people.resume_rollout_or_refuse(who, rollout, number)
            case verbs.SKIP_WAVE:
                people.skip_wave_or_refuse(who, rollout, number, wave, reason)
            case verbs.ABORT_ROLLOUT:
                people.abort_rollout_or_refuse(who, rollout, number, reason)
            case _:
                raise ValueError(f"nobody does what {action.verb.action} asks for")
    except ActionRefused as problem:
        # What is said of a commit may name targets that are not theirs to read.
        findings = visitor.store.tell(target.source, problem.diagnostics)
        raise RequestRefused(HTTPStatus.CONFLICT, *findings) from None
    return None


def carry_out_each(actions: Sequence[Action], visitor: Visitor) -> None:
    """Do what somebody asks for of each target; RequestRefused once the others are done."""
    refusals: dict[TargetName, RequestRefused] = {}
    for action in actions:
        try:
            carry_out(action, visitor)
        except RequestRefused as refusal:
            refusals[action.target] = refusal
    if refusals:
        summary = f"{len(refusals)} of {len(actions)} targets refused the action"
        done = (
            "The other targets are done." if len(refusals) < len(actions) else "Nothing was done."
        )
        findings = [
            replace(finding, detail=f"{target}: {finding.detail}")
            for target, refusal in refusals.items()
            for finding in refusal.findings
        ]
        first = error_finding(summary, done, "Review the current rows.")
        raise RequestRefused(HTTPStatus.CONFLICT, first, *findings[:_MAX_SHOWN_REFUSALS])


def _require_right_on_rollout(action: Action, visitor: Visitor) -> None:
    """Whoever may approve rows of every target that it concerns may decide.

    Those are the targets of the wave, or of the whole rollout.
    """
    if visitor.store.find_rollout(action.rollout) is None:
        raise not_found(f"No rollout {action.rollout} exists that you may read.")
    scope = f"wave {action.wave} of {action.rollout}" if action.wave else action.rollout
    rows = visitor.whole_store.list_rollout_targets(action.rollout, action.wave or None)
    if not rows:
        finding = error_finding("There is nothing to decide", f"{scope} has no target.")
        raise RequestRefused(HTTPStatus.CONFLICT, finding)
    if not visitor.can_approve_each(rows):
        raise visitor.right_refusal(action.verb.right, f"every target of {scope}")


# Whose forms and documents are taken.

FORM_TYPE, JSON_TYPE = "application/x-www-form-urlencoded", "application/json"
_BODY_SECONDS = 10.0


def require_form_of_own_page(request: Request, own_origins: Collection[str]) -> None:
    """Raise RequestRefused unless the browser says that a page of ours sends the request.

    Browsers say it in `Sec-Fetch-Site` (over TLS and loopback) and in `Origin`; no page can change
    either. Of the two, what is there has to say so. A request with neither is of no browser, or of
    one that is too old; `Origin: null` is of no page of ours, which let their address be named.
    """
    headers = request.headers
    origins = headers.getlist("origin")
    has_own_origin = len(origins) == 1 and origins[0].lower() in own_origins
    is_ours = (
        is_from_own_page(request) and (has_own_origin or not origins)
        if "sec-fetch-site" in headers
        else has_own_origin
    )
    if not is_ours:
        raise forbidden(
            "The request does not come from a page of this controller",
            "The browser did not confirm that the form was on one of its pages. The controller "
            "did nothing.",
            "Open the page at its `public_url`, and submit the form there.",
        )
    _require_media_type(headers, FORM_TYPE)


def require_document_of_token(visitor: Visitor) -> None:
    """Raise RequestRefused or HTTPException unless it is JSON of somebody with a token."""
    # A browser sends what its proxy needs by itself, whoever asks it to.
    if not visitor.identity.startswith(TOKEN_PREFIX):
        raise forbidden(
            "This path needs a token",
            "People whom the proxy has logged in use the forms of the pages.",
            "Send a token of `access.tokens` as `Authorization: Bearer TOKEN`.",
        )
    _require_media_type(visitor.request.headers, JSON_TYPE)


def _require_media_type(headers: Headers, expected: str) -> None:
    values = headers.getlist("content-type")
    media_type = values[0].partition(";")[0].strip().lower() if len(values) == 1 else ""
    if media_type != expected:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The body must be {expected}.")


_MAX_LENGTH_DIGITS = 18


async def read_body_within_limits(request: Request, max_size: int) -> bytes:
    """The body of a request; HTTPException where it is too large, too slow or broken off."""
    body = bytearray()
    large = HTTPException(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {max_size:,} bytes."
    )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > _MAX_LENGTH_DIGITS or int(length) > max_size):
        raise large
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_size:
                    raise large
    except TimeoutError:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "The body arrived too slowly.") from None
    except ClientDisconnect:
        raise HTTPException(
            HTTPStatus.BAD_REQUEST, "The connection ended before the whole body arrived."
        ) from None
    return bytes(body)
