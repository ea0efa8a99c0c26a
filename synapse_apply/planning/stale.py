"""A planned row against the same row planned anew: still true, or changed and how.

Rows are compared by content, never by serials or times: what nobody touched is never stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.codec import value_text
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.plan import Action, Change, FieldChange, Refusal
from synapse_apply.model.values import ABSENT, KnownAfterApply, dig, leaves
from synapse_apply.model.verification import Verification
from synapse_apply.planning.along import CARRIES
from synapse_apply.planning.package import uploaded_digest
from synapse_apply.planning.refusals import dotted, listing

STALE, UNREVIEWED = "stale", "unreviewed"
_AGAIN = ("plan again",)
_REVIEW = ("review a new plan",)
_MOST = 20
_SHORT = 60


def same(before: Change, now: Change) -> bool:
    """Whether carrying out `now` is what was planned, on an object that has not moved.

    Whether a secret could be checked when it was planned does not count: its value is no part of
    a plan.
    """
    return (
        before.action is now.action
        and before.remote_id == now.remote_id
        and before.fingerprint == now.fingerprint
        and [_effect(field) for field in before.fields] == [_effect(field) for field in now.fields]
        and _content(before) == _content(now)
        and same_run(before, now)
    )


def same_run(before: Change, now: Change) -> bool:
    """Whether the same is run, under the same rules; a job that is followed already is no other."""
    return _run(before) == _run(now)


def _run(change: Change) -> Verification | None:
    due = change.verification
    return replace(due, reason="", job="") if due is not None else None


def known_by_now(before: Change, now: Change | None, ids: Mapping[Address, str]) -> Change:
    """The planned row with the ids that only a made object has, where those are there by now.

    An apply that ended half-way made them: what refers to them is still what was planned.
    """
    fresh = {field.path: field.after for field in now.fields} if now else {}

    def resolved(field: FieldChange) -> FieldChange:
        after, value = field.after, fresh.get(field.path)
        known = isinstance(after, KnownAfterApply) and value == ids.get(after.address)
        return replace(field, after=value) if known and value else field

    return replace(before, fields=tuple(map(resolved, before.fields)))


def refused(before: Change, now: Change, *, reviewed: bool = False) -> Change:
    """The row as it is now, refused alone: planned / was / is now, for each field that moved."""
    reason = "it is not what was reviewed" if reviewed else "it changed since it was planned"
    lines = "\n".join((reason, *(f"  {move}" for move in _moves(before, now))))
    moved = Refusal(STALE, lines, _REVIEW if reviewed else _AGAIN, now.position)
    refusals = (moved, *now.refusals)
    # Notes and fields say what apply would do now; this row says what was planned.
    kept = replace(now, action=before.action, fields=(), notes=())
    return replace(kept, refusals=refusals, rebase=False, verification=None)


def gone(before: Change, *, reviewed: bool = False) -> Change:
    """A planned row whose address is neither declared nor recorded now."""
    reason = "it is neither declared nor recorded now"
    way = _REVIEW if reviewed else _AGAIN
    return _stopped(before, Refusal(STALE, reason, way))


def unreviewed(now: Change) -> Change:
    """A row nobody reviewed."""
    refusal = Refusal(UNREVIEWED, "no reviewed plan has it", _REVIEW, now.position)
    return _stopped(now, refusal)


def dependent(now: Change, needs: Iterable[Address], *, reviewed: bool = False) -> Change:
    """A row that is still true and needs one that will not be done."""
    reason = f"it needs {listing(sorted(needs))}, which will not be done"
    return _stopped(now, Refusal(STALE, reason, _REVIEW if reviewed else _AGAIN, now.position))


def _stopped(row: Change, refusal: Refusal) -> Change:
    return replace(row, refusals=(refusal,), rebase=False, verification=None)


def _effect(field: FieldChange) -> tuple[Path, bool, str, str]:
    return (field.path, field.sensitive, value_text(field.before), value_text(field.after))


def _content(change: Change) -> tuple[str, Any, Any]:
    told = change.extras
    return uploaded_digest(change), told.get("published_digest"), told.get(CARRIES)


def _moves(before: Change, now: Change) -> Iterator[str]:
    told = list(_told(before, now))
    yield from told[:_MOST]
    if len(told) > _MOST:
        yield f"and {len(told) - _MOST} more"


def _told(before: Change, now: Change) -> Iterator[str]:
    if before.refused:
        yield f"it was refused when it was planned, now it would be {now.action.value}"
        return
    if before.action is not now.action:
        yield f"planned {before.action.value}, now {_now(now)}"
    if before.remote_id != now.remote_id:
        yield f"id: was {before.remote_id or 'absent'}, is now {now.remote_id or 'absent'}"
    if before.action is now.action or now.action is Action.UPDATE:
        yield from _fields(before, now)
    if before.action is now.action and _content(before) != _content(now):
        other = before.extras.get(CARRIES) != now.extras.get(CARRIES)
        yield "another is made along with it" if other else "its package has other content"
    if before.action is now.action and not same_run(before, now):
        yield _other_run(before, now)


def _other_run(before: Change, now: Change) -> str:
    if before.verification is None:
        return "it would be verified now, which was not planned"
    if now.verification is None:
        return "it would not be verified now, as was planned"
    return "it would be verified in another way than was planned"


def _now(now: Change) -> str:
    words = {
        Action.NO_OP: "there is nothing to do",
        Action.RECREATE: "it is missing",
        Action.ADOPT: "it exists outside this state",
    }
    return words.get(now.action, f"it would be {now.action.value}")


def _fields(before: Change, now: Change) -> Iterator[str]:
    planned = {field.path: field for field in before.fields}
    fresh = {field.path: field for field in now.fields}
    paths = sorted({*planned, *fresh}, key=lambda at: [str(part) for part in at])
    texts = [_field(path, planned.get(path), fresh.get(path), before, now) for path in paths]
    elsewhere = [] if now.action is Action.CREATE else list(_elsewhere(before, now, set(paths)))
    found = [*filter(None, texts), *elsewhere]
    yield from found
    still = before.action is now.action and before.remote_id == now.remote_id
    if not found and still and before.fingerprint != now.fingerprint:
        yield "a secret of it changed, or it was planned with another state key"


def _field(
    path: Path, planned: FieldChange | None, fresh: FieldChange | None, before: Change, now: Change
) -> str:
    if planned is not None and fresh is not None and _effect(planned) == _effect(fresh):
        return ""
    name = dotted(path)
    if any(field is not None and field.sensitive for field in (planned, fresh)):
        return f"{name}: (sensitive), {_sent(planned)}, {_sent(fresh, 'now ')}"
    wants = planned.after if planned else dig(before.after, path)
    was = planned.before if planned else dig(before.before, path)
    has = fresh.before if fresh else dig(now.before, path)
    text = f"{name}: planned {_short(wants)}, was {_short(was)}, is now {_short(has)}"
    if fresh is not None and value_text(fresh.after) != value_text(wants):
        text += f" and would become {_short(fresh.after)}"
    return text


def _sent(field: FieldChange | None, when: str = "planned ") -> str:
    return f"{when}{'left alone' if field is None else 'sent'}"


def _elsewhere(before: Change, now: Change, told: set[Path]) -> Iterator[str]:
    """Live fields that moved although the plan does not change them."""
    was, has = leaves(before.before or {}), leaves(now.before or {})
    for path in sorted({*was, *has}, key=lambda at: [str(part) for part in at]):
        old, new = was.get(path, ABSENT), has.get(path, ABSENT)
        if path not in told and value_text(old) != value_text(new):
            yield f"{dotted(path)}: was {_short(old)}, is now {_short(new)}"


def _short(value: Any) -> str:
    if value is ABSENT:
        return "absent"
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    except TypeError:
        text = str(value)
    except ValueError:  # an integer too long for decimal
        text = value_text(value)
    return text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."
