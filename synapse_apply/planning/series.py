"""Members of a series (releases of a plugin, say): what supersedes what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.versions import Order, order
from synapse_apply.planning.situation import Item


@dataclass(slots=True)
class Members:
    """The declared members of one series, and every version that is taken.

    `retain`: so many of the newest are kept; None keeps all.
    """

    declared: dict[Address, str] = field(default_factory=dict)
    recorded: dict[Address, str] = field(default_factory=dict)
    retain: int | None = None

    @property
    def newest(self) -> Order | None:
        """The highest declared version that can be ordered."""
        return max(filter(None, map(order, self.declared.values())), default=None)

    def keeps(self, version: Order) -> bool:
        """Whether a version is among the newest that are kept."""
        known = sorted({at for at in map(order, self.versions) if at is not None}, reverse=True)
        return self.retain is None or version in known[: self.retain]

    @property
    def versions(self) -> set[str]:
        return {*self.declared.values(), *self.recorded.values()}


Series = Mapping[tuple[str, str], Members]


def series_of(items: Iterable[Item]) -> Series:
    """The series of all items by (prefix, series)."""
    found: dict[tuple[str, str], Members] = {}
    retain: dict[str, int | None] = {}
    for item in items:
        if item.desired is not None:
            retain[str(item.address)] = item.desired.retain
        if not item.type.series:
            continue
        if item.desired is not None:
            name, version = item.type.place_in_series(item.desired.spec)
            members = found.setdefault((item.address.kind, name), Members())
            members.declared[item.address] = version
        elif item.record is not None and item.record.series:
            members = found.setdefault((item.address.kind, item.record.series), Members())
            members.recorded[item.address] = item.record.version
    for (_, name), members in found.items():
        members.retain = retain.get(name)
    return found


def is_history(item: Item, series: Series) -> bool:
    """Whether an undeclared record is kept silently: its series goes on without it.

    True for what a declared member supersedes, and for what is newer than all declared ones
    (the manifest went back), which is warned about instead.
    """
    record = item.record
    if record is None or not record.series:
        return False
    members = series.get((item.address.kind, record.series))
    mine = order(record.version)
    return members is not None and mine is not None and members.newest is not None


def is_beyond(item: Item, series: Series) -> bool:
    """Whether a superseded record is older than all that its series keeps."""
    record = item.record
    mine = order(record.version) if record is not None else None
    members = series.get((item.address.kind, record.series)) if record is not None else None
    if members is None or mine is None or not is_history(item, series):
        return False
    return not members.keeps(mine)


def members_beside(item: Item, series: Series) -> tuple[Address, ...]:
    """The declared members of the series that an undeclared record belongs to."""
    record = item.record
    if record is None or not record.series:
        return ()
    members = series.get((item.address.kind, record.series))
    return tuple(members.declared) if members is not None else ()


def went_back(series: Series, items: Mapping[Address, Item]) -> list[Diagnostic]:
    """A warning for each series whose declared version is lower than one already recorded."""
    found = []
    for _, members in sorted(series.items()):
        newest = members.newest
        higher = [
            (mine, address)
            for address, version in members.recorded.items()
            if (mine := order(version)) is not None and newest is not None and mine > newest
        ]
        if higher:
            found.append(_warning(members, max(higher)[1], items))
    return found


def _warning(members: Members, recorded: Address, items: Mapping[Address, Item]) -> Diagnostic:
    ordered = [(at, address) for address, text in members.declared.items() if (at := order(text))]
    declared = max(ordered)[1]
    item = items[declared]
    place = item.desired.place((item.type.version,)) if item.desired else None
    return warning(
        "Declared version is lower than a published one",
        f"{declared} is declared, and {recorded} was published before it.",
        "Nothing is taken back by this; declare a higher version to publish again.",
        position=place,
        address=str(declared),
    )
