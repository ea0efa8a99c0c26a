"""Members of a series (releases of a plugin, say): what supersedes what, and the next version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.planning.situation import Item

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?"
)
Order = tuple[int, int, int, tuple[tuple[int, int, str], ...]]
_RELEASED = ((2, 0, ""),)


def order(version: str) -> Order | None:
    """A sort key by semantic versioning 2.0.0 section 11; None for what is not one.

    Build metadata does not order.
    """
    match = _SEMVER.fullmatch(version)
    if match is None:
        return None
    major, minor, patch, prerelease = match.groups()
    return int(major), int(minor), int(patch), _prerelease(prerelease)


def _prerelease(text: str | None) -> tuple[tuple[int, int, str], ...]:
    if not text:
        return _RELEASED
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in text.split(".")
    )


@dataclass(slots=True)
class Members:
    """The declared members of one series, and every version that is taken."""

    declared: dict[Address, str] = field(default_factory=dict)
    recorded: dict[Address, str] = field(default_factory=dict)

    @property
    def newest(self) -> Order | None:
        """The highest declared version that can be ordered."""
        return max(filter(None, map(order, self.declared.values())), default=None)

    @property
    def versions(self) -> set[str]:
        return {*self.declared.values(), *self.recorded.values()}


Series = Mapping[tuple[str, str], Members]


def series_of(items: Iterable[Item]) -> Series:
    """The series of all items by (prefix, series)."""
    found: dict[tuple[str, str], Members] = {}
    for item in items:
        if not item.type.series:
            continue
        if item.desired is not None:
            name, version = item.type.place_in_series(item.desired.spec)
            members = found.setdefault((item.address.kind, name), Members())
            members.declared[item.address] = version
        elif item.record is not None and item.record.series:
            members = found.setdefault((item.address.kind, item.record.series), Members())
            members.recorded[item.address] = item.record.version
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


def next_version(version: str, taken: Iterable[str]) -> str:
    """The next patch version that is free; "" where the version cannot be counted on."""
    at = order(version)
    if at is None:
        return ""
    used = set(taken)
    major, minor, patch, prerelease = at
    patch += prerelease == _RELEASED
    while f"{major}.{minor}.{patch}" in used:
        patch += 1
    return f"{major}.{minor}.{patch}"
