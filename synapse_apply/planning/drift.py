"""What moved outside, told apart from what Git has and nobody applied yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.drift import Drift, ObjectDrift
from synapse_apply.model.plan import Action, Cause, Change, FieldChange, Plan
from synapse_apply.model.state import Record
from synapse_apply.model.values import ABSENT, dig
from synapse_apply.planning.fields import differences
from synapse_apply.planning.situation import CanWrite, Item, writes_all
from synapse_apply.planning.whole import is_secret, nested
from synapse_apply.planning.writable import is_writable

_MAKES = frozenset({Action.CREATE, Action.ADOPT, Action.DELETE, Action.FORGET})
_OUTSIDE = frozenset({Cause.DRIFT})


def drift(
    plan: Plan,
    items: Mapping[Address, Item],
    *,
    held: bool = False,
    can_write: CanWrite = writes_all,
) -> Drift:
    """The drift of what a plan covers; pure, as the plan is.

    Only recorded resources that are declared can drift: for anything else nothing is ours that
    could have moved. `held`: the target keeps drift. `can_write` tells what can go into the files.
    """
    objects = tuple(_objects(plan, items, can_write))
    remade = {one.address for one in objects if one.remade}  # adopting it is no change of Git's
    waiting = (change.address for change in plan.changes if _waits(change))
    return Drift(
        created=plan.created,
        tool_version=plan.tool_version,
        base=plan.base,
        objects=objects,
        waiting=tuple(sorted(address for address in waiting if address not in remade)),
        held=held,
        diagnostics=plan.diagnostics,
        with_accepted=plan.with_accepted,
    )


def _objects(
    plan: Plan, items: Mapping[Address, Item], can_write: CanWrite
) -> Iterator[ObjectDrift]:
    for change in sorted(plan.changes, key=lambda change: change.address):
        item = items.get(change.address)
        unknown = any(refusal.outcome_unknown for refusal in change.refusals)
        if item is None or item.desired is None or item.record is None or unknown:
            continue  # what an open call did is not known, so nothing can be said of it
        if item.sighting.problem is None and (found := _object(item, item.record)):
            why = "; ".join(refusal.reason for refusal in change.refusals)
            writable = bool(found.fields) and is_writable(item, found.fields, can_write)
            yield replace(found, stuck=why, writable=writable)


def _object(item: Item, record: Record) -> ObjectDrift | None:
    place = item.desired.position if item.desired else None
    observed = item.sighting.observed
    if observed is None:
        return ObjectDrift(item.address, record.remote_id, gone=True, position=place)
    # An id of another API version is another number of the same object.
    is_other = observed.api == record.api and observed.remote_id != record.remote_id
    remade = observed.remote_id if is_other else ""
    fields = tuple(differences(item, record).drifted)
    if not fields and not remade:
        return None
    ours = [nested(side) for side in (item.want, record.applied, record.seen)]
    instead = tuple(_instead(fields, nested(item.live), ours))
    return ObjectDrift(
        item.address, record.remote_id, fields, remade=remade, position=place, instead=instead
    )


def _instead(
    fields: Iterable[FieldChange], live: Mapping[str, Any], ours: Sequence[Mapping[str, Any]]
) -> Iterator[FieldChange]:
    """What stands above fields that are gone: nothing is declared there, so none of them tells.

    Where a map of `ours` holds a secret, a text in its place may be one.
    """
    told: set[Path] = set()
    for field in fields:
        for end in range(1, len(field.path) if field.after is ABSENT else 0):
            path = field.path[:end]
            value = dig(live, path)
            if path in told or value is ABSENT or isinstance(value, Mapping):
                continue
            told.add(path)
            if any(is_secret(dig(side, path)) for side in (live, *ours)):
                yield FieldChange(path, ABSENT, ABSENT, field.cause, True, "changed")
            else:
                yield FieldChange(path, ABSENT, value, field.cause)


def _waits(change: Change) -> bool:
    """Whether something that Git says is still to be applied."""
    if change.superseded:
        return False
    is_update = change.action is Action.UPDATE
    return change.action in _MAKES or (is_update and bool(change.causes - _OUTSIDE))
