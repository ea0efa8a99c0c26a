"""`moved:` and `removed:` of a project file: read, and checked against what is declared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.wording import did_you_mean
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Path, Position, error, warning
from synapse_apply.model.refactoring import Moved, Removed, chains

Find = Callable[[Path, str, str, str], None]
"""Told where in the project file, and summary, detail and hint."""


class Refactoring:
    """Reads both lists of a project file that fits its schema; what is wrong goes to `find`."""

    def __init__(
        self, value: Mapping[str, Any], positions: Mapping[Path, Position], find: Find
    ) -> None:
        self._value = value
        self._positions = positions
        self._find = find

    def moved(self) -> tuple[Moved, ...]:
        """Every rename in the order of the file; a chain is several of them."""
        moves: list[Moved] = []
        sources: set[Address] = set()
        targets: set[Address] = set()
        for index, row in enumerate(self._value.get("moved", ())):
            at: Path = ("moved", index)
            old, new = (self._address((*at, key), row[key]) for key in ("from", "to"))
            if old is None or new is None:
                continue
            if old.kind != new.kind:
                detail = f"{old} cannot become {new}: they are of different kinds"
                self._find((*at, "to"), "An address keeps its kind", detail, "name one kind")
            elif old in sources:
                detail = f"{old} is moved already, further up"
                self._find((*at, "from"), "Moved twice", detail, "keep one of the two")
            elif new in targets:
                detail = f"something else is moved to {new} already, further up"
                self._find((*at, "to"), "Two moves to one address", detail, "keep one of the two")
            else:
                moves.append(Moved(old, new, self._positions.get(at)))
            sources.add(old)
            targets.add(new)
        self._check_cycles(moves)
        return tuple(moves)

    def removed(self, moved: Sequence[Moved]) -> tuple[Removed, ...]:
        """Every address that is let go; one that is also moved is a contradiction."""
        found: dict[Address, Removed] = {}
        sources = {move.old for move in moved}
        for index, row in enumerate(self._value.get("removed", ())):
            at: Path = ("removed", index, "address")
            address = self._address(at, row["address"])
            if address is None:
                continue
            if address in sources:
                detail = f"{address} is also moved to another address"
                self._find(at, "Moved and removed", detail, "keep one of the two")
            found.setdefault(address, Removed(address, self._positions.get(at)))
        return tuple(found.values())

    def _address(self, path: Path, text: str) -> Address | None:
        kind, slash, name = text.partition("/")
        if slash and name and kind in CATALOGUE:
            return Address(kind, name)
        near = did_you_mean(kind, sorted(CATALOGUE)) if slash else ""
        hint = near or "write plugin/NAME, release/NAME@VERSION or storage/NAME"
        self._find(path, "Malformed address", f"`{text}` is no address", hint)
        return None

    def _check_cycles(self, moves: Iterable[Moved]) -> None:
        """Each cycle once, at its first row."""
        after = {move.old: move.new for move in moves}
        told: set[Address] = set()
        for index, move in enumerate(self._value.get("moved", ())):
            start = self._parsed(move["from"])
            way, at = [start], after.get(start)
            while at is not None and at not in way:
                way.append(at)
                at = after.get(at)
            if at == start and start not in told:
                told.update(way)
                circle = " -> ".join(map(str, [*way, start]))
                hint = "remove the move that leads back"
                self._find(("moved", index), "Moves in a circle", circle, hint)

    def _parsed(self, text: str) -> Address:
        kind, _, name = text.partition("/")
        return Address(kind, name)


def check_declared(
    moved: Iterable[Moved],
    removed: Iterable[Removed],
    known: Collection[Address],
    target: str,
) -> Iterable[Diagnostic]:
    """Addresses that are moved away or let go, and still declared on a target."""
    for move in moved:
        if move.old in known:
            yield error(
                "Moved and still declared",
                f"{move.old} is moved to {move.new}, and a manifest declares it",
                "remove that manifest, or the move",
                position=move.position,
                address=str(move.old),
                target=target,
            )
    for gone in removed:
        if gone.address in known:
            yield error(
                "Removed and still declared",
                f"{gone.address} is listed as removed, and a manifest declares it",
                "remove that manifest, or the line of `removed:`",
                position=gone.position,
                address=str(gone.address),
                target=target,
            )


def check_declared_at(
    ref: str,
    moved: Iterable[Moved],
    removed: Iterable[Removed],
    known: Collection[Address],
    target: str,
) -> Iterable[Diagnostic]:
    """The same for manifests of an earlier time, which nobody can change any more.

    What they declare counts as not removed, and moves go towards what they declare; only where
    they declare both ends of a move does nobody know which of the two the record is.
    """
    for chain, way in chains(moved):
        both = [address for address in way if address in known]
        if len(both) > 1:
            yield error(
                "Moved and still declared",
                f"{both[0]} is moved to {both[-1]}, and the manifests of {ref} declare both",
                "take that move out of the project file for this run",
                position=chain[0].position,
                address=str(both[0]),
                target=target,
            )
    for gone in removed:
        if gone.address in known:
            yield warning(
                "Removed and declared again",
                f"the manifests of {ref} declare {gone.address}, so it counts as not removed",
                "if it was forgotten already and the plan would make a second one: `synapse-apply "
                f"import {gone.address} ID` records the one that is there",
                position=gone.position,
                address=str(gone.address),
                target=target,
            )


def later_names(address: Address, moved: Iterable[Moved]) -> tuple[str, ...]:
    """An address and those that moves gave it since, or its owner, as overlays name it today."""
    after = {move.old: move.new for move in moved}
    names, at = [str(address)], address
    while at in after:
        at = after[at]
        names.append(str(at))
    kind = CATALOGUE.get(address.kind)
    owner, sign, version = address.name.rpartition("@")
    if kind is not None and kind.series and sign:
        above = Address(kind.rules[kind.series].references, owner)
        later = later_names(above, moved)[1:]
        names += (f"{address.kind}/{name.partition('/')[2]}@{version}" for name in later)
    return tuple(names)
