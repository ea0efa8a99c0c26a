"""What a project file says of addresses that changed: renamed, or let go on purpose."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Position
from synapse_apply.model.frozen import frozen

if TYPE_CHECKING:  # what reads a project file needs no state
    from synapse_apply.model.state import Intent, Record


@frozen
class Moved:
    """One object, `old` before and `new` now; both of one kind."""

    old: Address
    new: Address
    position: Position | None = None


@frozen
class Removed:
    """An address that is no longer managed on purpose; the object stays."""

    address: Address
    position: Position | None = None


Renames = Mapping[Address, Address]
# Given a record as it was and as it will be, gives what is written.
Finish = Callable[["Record", "Record"], "Record"]


def chains(moves: Iterable[Moved]) -> Iterator[tuple[list[Moved], list[Address]]]:
    """Moves that follow on each other, and the addresses on their way; a circle is none."""
    by_old = {move.old: move for move in moves}
    later = {move.new for move in by_old.values()}
    for start in (old for old in by_old if old not in later):
        chain = [by_old[start]]
        while chain[-1].new in by_old:
            chain.append(by_old[chain[-1].new])
        yield chain, [start, *(move.new for move in chain)]


def turned(moves: Sequence[Moved], declared: Collection[Address]) -> tuple[Moved, ...]:
    """The moves as manifests of an earlier time need them: towards the address they declare."""
    found: list[Moved] = []
    for chain, way in chains(moves):
        ends = [index for index, address in enumerate(way) if address in declared]
        end = ends[0] if len(ends) == 1 else len(chain)
        found += chain[:end]
        found += (Moved(move.new, move.old, move.position) for move in chain[end:])
    return tuple(found)


def after_alone(_before: Record, after: Record) -> Record:
    """A record that needs nothing but its new names."""
    return after


def renamed(
    records: Iterable[Record], renames: Renames, finish: Finish = after_alone
) -> Iterator[Record]:
    """The records that change: those that are renamed, and those that refer to them.

    `finish` is given each as it was and as it will be, and gives what is written.
    """
    series = {str(old): str(new) for old, new in renames.items()}
    for record in records:
        made = replace(
            record,
            address=renames.get(record.address, record.address),
            depends_on=tuple(renames.get(at, at) for at in record.depends_on),
            series=series.get(record.series, record.series),
        )
        if made != record:
            yield finish(record, made)


def with_members(known: Iterable[Record | Intent], renames: Renames) -> dict[Address, Address]:
    """The renames, and those of the members of each renamed series, which carry its name."""
    whole = dict(renames)
    owners = {str(old): (old, new) for old, new in renames.items()}
    for one in known:
        if one.series in owners and one.address not in renames:
            old, new = owners[one.series]
            owner, at, version = one.address.name.rpartition("@")
            if at and owner == old.name:
                whole[one.address] = replace(one.address, name=f"{new.name}@{version}")
    return whole


def members(records: Iterable[Record], addresses: Iterable[Address]) -> set[Address]:
    """The recorded members of the series that these addresses have."""
    owners = set(map(str, addresses))
    return {record.address for record in records if record.series in owners} if owners else set()
