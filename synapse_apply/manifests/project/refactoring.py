"""How `moved:` and `removed:` are decoded, and whether they contradict what is declared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    warning_finding,
)
from synapse_apply.model.phrases import suggest_closest_or_list_known_words_or_empty
from synapse_apply.model.refactoring import (
    MovedAddress,
    RemovedAddress,
    iter_acyclic_move_chains_with_addresses,
)

ReportFinding = Callable[[FieldPath, str, str, str], None]
"""Called with the path in the project file, and summary, detail and hint of a finding."""

# Each of its addresses is looked for by way of all that come after it.
_MAX_MOVES_IN_ROW = 100


class RefactoringDecoder:
    """Decodes both lists of a project file that fits its schema; contradictions are reported."""

    def __init__(
        self,
        value: Mapping[str, Any],
        positions: Mapping[FieldPath, Position],
        report_finding: ReportFinding,
    ) -> None:
        self._value = value
        self._positions = positions
        self._report_finding = report_finding

    def decode_valid_moves_and_report_others(self) -> tuple[MovedAddress, ...]:
        """The moves of the file without wrong ones; those of a circle are reported, and stay."""
        moves: list[MovedAddress] = []
        row_by_old: dict[Address, int] = {}
        sources: set[Address] = set()
        targets: set[Address] = set()
        for index, row in enumerate(self._value.get("moved", ())):
            row_path: FieldPath = ("moved", index)
            old, new = (
                self._parse_address_or_report((*row_path, key), row[key]) for key in ("from", "to")
            )
            if old is None or new is None:
                continue
            if old.kind != new.kind:
                detail = f"{old} cannot become {new}: they are of different kinds"
                self._report_finding(
                    (*row_path, "to"), "An address keeps its kind", detail, "name one kind"
                )
            elif old in sources:
                detail = f"{old} is moved already, further up"
                self._report_finding(
                    (*row_path, "from"), "Moved twice", detail, "keep one of the two"
                )
            elif new in targets:
                detail = f"something else is moved to {new} already, further up"
                self._report_finding(
                    (*row_path, "to"), "Two moves to one address", detail, "keep one of the two"
                )
            else:
                moves.append(MovedAddress(old, new, self._positions.get(row_path)))
                row_by_old[old] = index
            sources.add(old)
            targets.add(new)
        self._report_cycles_and_long_chains(moves, row_by_old)
        return tuple(moves)

    def decode_removals_and_report_moved(
        self, moves: Sequence[MovedAddress]
    ) -> tuple[RemovedAddress, ...]:
        """The removed addresses, each once; one that is also moved is reported."""
        removal_by_address: dict[Address, RemovedAddress] = {}
        sources = {move.old for move in moves}
        for index, row in enumerate(self._value.get("removed", ())):
            address_path: FieldPath = ("removed", index, "address")
            address = self._parse_address_or_report(address_path, row["address"])
            if address is None:
                continue
            if address in sources:
                detail = f"{address} is also moved to another address"
                self._report_finding(
                    address_path, "Moved and removed", detail, "keep one of the two"
                )
            removal_by_address.setdefault(
                address, RemovedAddress(address, self._positions.get(address_path))
            )
        return tuple(removal_by_address.values())

    def _parse_address_or_report(self, path: FieldPath, text: str) -> Address | None:
        kind, slash, name = text.partition("/")
        if slash and name and kind in CATALOGUE:
            return Address(kind, name)
        kind_hint = (
            suggest_closest_or_list_known_words_or_empty(kind, sorted(CATALOGUE)) if slash else ""
        )
        hint = kind_hint or "write plugin/NAME, release/NAME@VERSION or storage/NAME"
        self._report_finding(path, "Malformed address", f"`{text}` is not an address", hint)
        return None

    def _report_cycles_and_long_chains(
        self, moves: Iterable[MovedAddress], row_by_old: Mapping[Address, int]
    ) -> None:
        """Report each cycle of moves once, at its first row, and chains that are too long."""
        in_cycles = {move.old: move.new for move in moves}
        for chain, addresses in iter_acyclic_move_chains_with_addresses(moves):
            for move in chain:
                del in_cycles[move.old]
            if len(chain) > _MAX_MOVES_IN_ROW:
                detail = f"{addresses[0]} becomes {addresses[-1]} by {len(chain)} moves in a row"
                hint = f"keep at most {_MAX_MOVES_IN_ROW}: what every target has carried out may go"
                path: FieldPath = ("moved", row_by_old[addresses[0]])
                self._report_finding(path, "Too many moves in a row", detail, hint)
        while in_cycles:
            start = next(iter(in_cycles))
            cycle = [start]
            while (following := in_cycles.pop(cycle[-1])) != start:
                cycle.append(following)
            chain_text = " -> ".join(map(str, [*cycle, start]))
            hint = "remove the move that leads back"
            self._report_finding(
                ("moved", row_by_old[start]), "Moves in a circle", chain_text, hint
            )


def iter_moved_or_removed_but_declared_errors(
    moves: Iterable[MovedAddress],
    removals: Iterable[RemovedAddress],
    declared_addresses: Collection[Address],
    target: str,
) -> Iterable[Diagnostic]:
    """An error for each address that is moved away or removed, and still declared."""
    for move in moves:
        if move.old in declared_addresses:
            yield error_finding(
                "Moved and still declared",
                f"{move.old} is moved to {move.new}, and a manifest declares it",
                "remove that manifest, or the move",
                position=move.position,
                address=str(move.old),
                target=target,
            )
    for removal in removals:
        if removal.address in declared_addresses:
            yield error_finding(
                "Removed and still declared",
                f"{removal.address} is listed as removed, and a manifest declares it",
                "remove that manifest, or the line of `removed:`",
                position=removal.position,
                address=str(removal.address),
                target=target,
            )


def iter_findings_of_moved_or_removed_at_ref(
    ref: str,
    moves: Iterable[MovedAddress],
    removals: Iterable[RemovedAddress],
    declared_addresses: Collection[Address],
    target: str,
) -> Iterable[Diagnostic]:
    """As `iter_moved_or_removed_but_declared_errors`, for manifests of a Git ref: they stay so.

    What they declare counts as not removed, and moves lead to what they declare. Only where
    they declare both ends of a move is it unknown which of the two a record belongs to.
    """
    for chain, addresses in iter_acyclic_move_chains_with_addresses(moves):
        declared_in_chain = [address for address in addresses if address in declared_addresses]
        if len(declared_in_chain) > 1:
            yield error_finding(
                "Moved and still declared",
                f"{declared_in_chain[0]} is moved to {declared_in_chain[-1]}, and the manifests "
                f"of {ref} declare both",
                "take that move out of the project file for this run",
                position=chain[0].position,
                address=str(declared_in_chain[0]),
                target=target,
            )
    for removal in removals:
        if removal.address in declared_addresses:
            yield warning_finding(
                "Removed and declared again",
                f"the manifests of {ref} declare {removal.address}, so it counts as not removed",
                Text(
                    "if it was forgotten already and the plan would make a second one: ",
                    Command("import", removal.address, "ID"),
                    " records the one that is there",
                ),
                position=removal.position,
                address=str(removal.address),
                target=target,
            )


def list_address_and_its_names_after_moves(
    address: Address, new_by_old: Mapping[Address, Address]
) -> tuple[str, ...]:
    """An address, and those that moves gave it or its owner since, by which overlays name it."""
    names, current = [str(address)], address
    while current in new_by_old:
        current = new_by_old[current]
        names.append(str(current))
    kind = CATALOGUE.get(address.kind)
    owner_name, separator, version = address.name.rpartition("@")
    if kind is not None and kind.series_field and separator:
        owner_address = Address(kind.rules[kind.series_field].references, owner_name)
        owner_names = list_address_and_its_names_after_moves(owner_address, new_by_old)[1:]
        names += (f"{address.kind}/{name.partition('/')[2]}@{version}" for name in owner_names)
    return tuple(names)
