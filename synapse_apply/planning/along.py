"""Creates that make a member of another kind along with their own object: one call, two rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action, Change
from synapse_apply.model.values import Reference
from synapse_apply.model.versions import Order, order
from synapse_apply.planning import needed
from synapse_apply.planning.rulings import Ruling, needs
from synapse_apply.planning.situation import Item

CARRIES, CARRIED_BY = "carries", "carried_by"
_MAKES = frozenset({Action.CREATE, Action.RECREATE})


def carried(change: Change) -> Address | None:
    """The address whose object the create of this row makes along with its own."""
    text = change.extras.get(CARRIES)
    return Address.parse(text) if isinstance(text, str) else None


@dataclass(slots=True)
class Along:
    """Which member goes along with which owner's create, as the rulings are made.

    `ruled` gives what is to be done about one item by itself; `selected` limits the plan. `awaited`
    is what each owner comes after, as `with_awaited` has it.
    """

    items: Mapping[Address, Item]
    selected: frozenset[Address] | None
    ruled: Callable[[Item], Ruling]
    awaited: Mapping[Address, Collection[Address]]
    _owners: dict[Address, Address] = field(default_factory=dict)
    _members: dict[Address, list[Item]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for item in self.items.values():
            for value in item.desired.spec.values() if item.desired is not None else ():
                if isinstance(value, Reference):
                    self._members[value.address].append(item)

    def settled(self, item: Item, ruling: Ruling) -> Ruling:
        """The ruling on an owner with its member, on a member with its owner."""
        owner = self._owners.get(item.address) if self._owners else None
        if owner is not None:
            return _told(ruling, CARRIED_BY, owner, f"made by the call that creates {owner}")
        bootstraps = item.binding.bootstraps
        if bootstraps is None or ruling.blocked or ruling.change.action not in _MAKES:
            return ruling
        stopped: list[Ruling] = []
        members = self._members[item.address]
        for member in sorted(members, key=_rank):
            if member.address.kind != bootstraps.kind:
                continue
            there = self.ruled(member)
            if self._may_go(item, member, there):
                self._owners[member.address] = item.address
                first = f"its first {bootstraps.kind} {member.address} is made by the same call"
                after = {*ruling.change.depends_on, *needs(member)} - {item.address}
                waiting = replace(ruling.change, depends_on=tuple(sorted(after)))
                return _told(replace(ruling, change=waiting), CARRIES, member.address, first)
            stopped.append(there)
        changes = [one.change for one in stopped]
        return ruling.refuse(
            needed.nothing_goes_along(item, bootstraps.kind, changes, self._is_left_out)
        )

    def _is_left_out(self, address: Address) -> bool:
        return self.selected is not None and address not in self.selected

    def _may_go(self, owner: Item, member: Item, ruling: Ruling) -> bool:
        return (
            ruling.change.action in _MAKES
            and not ruling.blocked
            and set(needs(member)) <= {owner.address, *self.awaited[owner.address]}
            and not self._is_left_out(member.address)
        )


def with_awaited(
    items: Mapping[Address, Item], graph: Mapping[Address, Collection[Address]]
) -> dict[Address, Collection[Address]]:
    """The graph in which an owner to be made also comes after what its first member needs."""
    made = dict(graph)
    first: dict[Address, Item] = {}
    for item in items.values():
        for value in item.desired.spec.values() if item.desired is not None else ():
            owner = items.get(value.address) if isinstance(value, Reference) else None
            if owner is None or owner.sighting.observed is not None or owner.address not in graph:
                continue
            bootstraps = owner.binding.bootstraps
            if bootstraps is None or item.address.kind != bootstraps.kind:
                continue
            known = first.get(owner.address)
            if known is None or _rank(item) < _rank(known):
                first[owner.address] = item
    for at, member in first.items():
        made[at] = tuple(dict.fromkeys((*graph[at], *(n for n in needs(member) if n != at))))
    return made


def _rank(item: Item) -> tuple[int, tuple[bool, Order | tuple[()], Address]]:
    """What needs nothing but its owner goes first, else the lowest version."""
    return len(needs(item)), _by_version(item)


def _by_version(item: Item) -> tuple[bool, Order | tuple[()], Address]:
    version = str(item.desired.spec.get(item.type.version, "")) if item.desired else ""
    at = order(version)
    return at is None, at or (), item.address


def _told(ruling: Ruling, key: str, other: Address, note: str) -> Ruling:
    change = ruling.change
    extras = {**change.extras, key: str(other)}
    return replace(ruling, change=replace(change, extras=extras, notes=(*change.notes, note)))
