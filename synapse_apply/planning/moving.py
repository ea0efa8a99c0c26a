"""Which renames of a project file are still to be carried out on the records of one state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.frozen import frozen
from synapse_apply.model.refactoring import Moved, Removed, members, renamed, with_members
from synapse_apply.model.state import Intent, Record


@frozen
class Moving:
    """`moved`: what is to be renamed, by the new address; `records` as they are then.

    `waiting` are new addresses whose objects may be there under the old ones: each has the address
    of an open call that a rename waits for.
    """

    moved: tuple[Moved, ...]
    records: Mapping[Address, Record]
    diagnostics: tuple[Diagnostic, ...] = ()
    waiting: Mapping[Address, Address] = field(default_factory=dict)


def moving(
    records: Mapping[Address, Record], moves: Sequence[Moved], opened: Sequence[Intent]
) -> Moving:
    """What is due: an old address that is recorded, to the end of its chain, members and all.

    A rename that cannot be is left out with a warning: its new address is recorded, too, or an
    earlier call on the way is open, be it one that may have made what is to be renamed. One that
    was carried out before is nothing.
    """
    if not moves:
        return Moving((), records)
    after = {move.old: move.new for move in moves}
    places = {move.old: move for move in moves}
    known: list[Record | Intent] = [*records.values(), *opened]
    busy = {intent.address for intent in opened}
    renames: dict[Address, Address] = {}
    waiting: dict[Address, Address] = {}
    found: list[Diagnostic] = []
    for old in sorted(after.keys() & {one.address for one in known}):
        way = _way(old, after)
        recorded = [at for at in way if at in records]
        whole = with_members(known, {old: way[-1]})
        open_calls = sorted({*whole, *way} & busy)
        why = _why_not(whole, records, open_calls, recorded)
        if why:
            found.append(_left(places[old], way[-1], why))
            waiting |= {new: open_calls[0] for new in whole.values() if open_calls}
        else:
            renames |= whole
    changed = {record.address: record for record in renamed(records.values(), renames)}
    kept = {at: record for at, record in records.items() if at not in renames}
    moved = (
        Moved(old, new, places[old].position if old in places else None)
        for old, new in renames.items()
    )
    return Moving(
        tuple(sorted(moved, key=lambda move: (move.new, move.old))),
        {**kept, **changed},
        tuple(found),
        waiting,
    )


def let_go(
    removed: Iterable[Removed], records: Mapping[Address, Record], declared: Collection[Address]
) -> frozenset[Address]:
    """What a project file lets go, members of such series too, unless it is declared again."""
    named = {gone.address for gone in removed} - set(declared)
    return frozenset(named | members(records.values(), named)) - frozenset(declared)


def _way(old: Address, after: Mapping[Address, Address]) -> list[Address]:
    """Where a chain of renames leads; it has no circle."""
    way = [after[old]]
    while way[-1] in after:
        way.append(after[way[-1]])
    return way


def _why_not(
    whole: Mapping[Address, Address],
    records: Mapping[Address, Record],
    open_calls: Sequence[Address],
    recorded: Iterable[Address],
) -> str:
    if taken := sorted({*recorded, *(new for new in whole.values() if new in records)}):
        return f"{taken[0]} is recorded, too"
    return f"an earlier call of {open_calls[0]} is open" if open_calls else ""


def _left(move: Moved, end: Address, why: str) -> Diagnostic:
    return warning(
        "An address was not moved",
        f"{move.old} cannot become {end}: {why}.",
        "`synapse-apply state list` shows what is recorded.",
        position=move.position,
        address=str(move.old),
    )
