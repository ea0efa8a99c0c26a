"""A planned row against the same row planned anew: still true, or moved and how.

Rows are compared by content, never by serials or times: what nobody touched is never stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.codec import value_text
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.plan import Action, Change, FieldChange, Refusal
from synapse_apply.model.values import ABSENT, dig
from synapse_apply.planning.refusals import dotted

_AGAIN = ("plan again",)
_MOST = 20


def same(before: Change, now: Change) -> bool:
    """Whether carrying out `now` is what was planned, on an object that has not moved."""
    return (
        before.action is now.action
        and before.refused == now.refused
        and before.remote_id == now.remote_id
        and before.fingerprint == now.fingerprint
        and [_effect(field) for field in before.fields] == [_effect(field) for field in now.fields]
        and before.extras.get("package") == now.extras.get("package")
    )


def refused(before: Change, now: Change) -> Change:
    """The row as it is now, refused alone: planned / was / is now, for each field that moved."""
    reason = "it moved since it was planned: " + "; ".join(_moves(before, now))
    return replace(now, refusals=(Refusal("stale", reason, _AGAIN, now.position),), rebase=False)


def gone(before: Change) -> Change:
    """A planned row that the fresh plan does not have at all."""
    reason = f"{before.action.value} was planned, but it is neither declared nor recorded now"
    return replace(before, refusals=(Refusal("stale", reason, _AGAIN),), rebase=False)


def unreviewed(now: Change) -> Change:
    """A row nobody reviewed."""
    reason = f"{now.action.value} is not in the reviewed plan"
    ways = ("review a new plan", "apply without --reviewed")
    return replace(now, refusals=(Refusal("unreviewed", reason, ways, now.position),), rebase=False)


def dependency(needs: Iterable[Address]) -> Refusal:
    """It needs a row that was refused."""
    names = ", ".join(str(address) for address in sorted(needs))
    return Refusal("stale", f"it needs {names}, which is refused", _AGAIN)


def _effect(field: FieldChange) -> tuple[Path, str, str, bool, str]:
    sides = (value_text(field.before), value_text(field.after))
    return (field.path, *sides, field.sensitive, field.note)


def _moves(before: Change, now: Change) -> Iterator[str]:
    if before.action is not now.action:
        yield f"planned {before.action.value}, is now {_told(now.action)}"
    if before.remote_id != now.remote_id:
        yield f"id: was {before.remote_id or 'none'}, is now {now.remote_id or 'none'}"
    planned = {field.path: field for field in before.fields}
    fresh = {field.path: field for field in now.fields}
    told = 0
    for path in sorted({*planned, *fresh}, key=lambda at: [str(part) for part in at]):
        text = _field(path, planned.get(path), fresh.get(path), before, now)
        if text and told < _MOST:
            told += 1
            yield text
    if before.extras.get("package") != now.extras.get("package"):
        yield "its package has other content"
    if not told and before.action is now.action and before.remote_id == now.remote_id:
        yield from _elsewhere(before, now)


def _told(action: Action) -> str:
    return "nothing to do" if action is Action.NO_OP else action.value


def _field(
    path: Path, planned: FieldChange | None, fresh: FieldChange | None, before: Change, now: Change
) -> str:
    if planned is not None and fresh is not None and _effect(planned) == _effect(fresh):
        return ""
    name = dotted(path)
    if any(field is not None and field.sensitive for field in (planned, fresh)):
        return f"{name}: (sensitive)"
    wants = planned.after if planned else dig(before.after, path)
    was = planned.before if planned else dig(before.before, path)
    has = fresh.before if fresh else dig(now.before, path)
    text = f"{name}: planned {_short(wants)}, was {_short(was)}, is now {_short(has)}"
    if fresh is not None and value_text(fresh.after) != value_text(wants):
        text += f", and would become {_short(fresh.after)}"
    return text


def _elsewhere(before: Change, now: Change) -> Iterator[str]:
    """Fields of ours that moved although the plan does not change them."""
    sides = (before.before or {}, now.before or {})
    names = sorted({*sides[0], *sides[1]})
    moved = [
        name
        for name in names
        if value_text(sides[0].get(name, ABSENT)) != value_text(sides[1].get(name, ABSENT))
    ]
    yield (
        "; ".join(
            f"{name}: was {_short(sides[0].get(name, ABSENT))}, "
            f"is now {_short(sides[1].get(name, ABSENT))}"
            for name in moved[:_MOST]
        )
        or "a secret of it moved"
    )


def _short(value: Any, most: int = 60) -> str:
    if value is ABSENT:
        return "absent"
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    except TypeError:
        text = str(value)
    return text if len(text) <= most else text[: most - 3] + "..."
