"""How moved and removed addresses change records, and what follows for members of a series."""

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
class MovedAddress:
    """An object's old and new address, both of one kind."""

    old: Address
    new: Address
    position: Position | None = None


@frozen
class RemovedAddress:
    """An address that is deliberately no longer managed; its object stays."""

    address: Address
    position: Position | None = None


Renames = Mapping[Address, Address]
# Called with a record before and after a rename; returns the record to write.
RecordFinisher = Callable[["Record", "Record"], "Record"]


def iter_move_chains(
    moves: Iterable[MovedAddress],
) -> Iterator[tuple[list[MovedAddress], list[Address]]]:
    """Each chain of consecutive moves, and its addresses from first to last.

    Cycles are left out.
    """
    by_old = {move.old: move for move in moves}
    # A chain starts at an address that no move leads to; a cycle has none.
    new_addresses = {move.new for move in by_old.values()}
    for start in (old for old in by_old if old not in new_addresses):
        chain = [by_old[start]]
        while chain[-1].new in by_old:
            chain.append(by_old[chain[-1].new])
        yield chain, [start, *(move.new for move in chain)]


def orient_moves_to_declared(
    moves: Sequence[MovedAddress], declared: Collection[Address]
) -> tuple[MovedAddress, ...]:
    """The moves, reversed where needed so that each chain ends at its declared address.

    For manifests of an older commit, which may declare an address from before a move.
    """
    oriented_moves: list[MovedAddress] = []
    for chain, addresses in iter_move_chains(moves):
        ends = [index for index, address in enumerate(addresses) if address in declared]
        # With several declared addresses, or none, nothing shows which way is meant, so moves stay.
        end = ends[0] if len(ends) == 1 else len(chain)
        oriented_moves += chain[:end]
        oriented_moves += (MovedAddress(move.new, move.old, move.position) for move in chain[end:])
    return tuple(oriented_moves)


def return_renamed_record_unchanged(_before: Record, after: Record) -> Record:
    """A RecordFinisher that writes the renamed record as it is."""
    return after


def iter_records_changed_by_renames(
    records: Iterable[Record],
    renames: Renames,
    finish: RecordFinisher = return_renamed_record_unchanged,
) -> Iterator[Record]:
    """The records that renames change: those that are renamed, and those that refer to them.

    `finish` is called with each record before and after, and returns the one to write.
    """
    series = {str(old): str(new) for old, new in renames.items()}
    for record in records:
        renamed_record = replace(
            record,
            address=renames.get(record.address, record.address),
            depends_on=tuple(
                renames.get(dependency, dependency) for dependency in record.depends_on
            ),
            series=series.get(record.series, record.series),
        )
        # Unchanged records are not written, so that they keep their time of update.
        if renamed_record != record:
            yield finish(record, renamed_record)


def with_member_renames(
    entries: Iterable[Record | Intent], renames: Renames
) -> dict[Address, Address]:
    """The renames, with those of members of a renamed series, whose names contain its name."""
    all_renames = dict(renames)
    owners = {str(old): (old, new) for old, new in renames.items()}
    for entry in entries:
        if entry.series in owners and entry.address not in renames:
            old, new = owners[entry.series]
            # The name of a member is OWNER@VERSION; the version itself may have no `@`.
            owner, separator, version = entry.address.name.rpartition("@")
            if separator and owner == old.name:
                all_renames[entry.address] = entry.address._replace(name=f"{new.name}@{version}")
    return all_renames


def list_member_addresses(records: Iterable[Record], addresses: Iterable[Address]) -> set[Address]:
    """The addresses of recorded members of the series of these addresses."""
    owners = set(map(str, addresses))
    return {record.address for record in records if record.series in owners} if owners else set()
