"""Versions in the order of semantic versioning 2.0.0; what is not one has no order."""

from __future__ import annotations

import re
from collections.abc import Iterable

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


def bumped(version: str, part: str) -> str:
    """The next major, minor or patch version; "" for what is no semantic version.

    A prerelease counts as not yet the version it leads to: 1.2.0-rc.1 is followed by 1.2.0 for
    patch and minor, by 2.0.0 for major. Prerelease and build metadata fall away.
    """
    at = order(version)
    if at is None:
        return ""
    major, minor, patch, prerelease = at
    leads_up = prerelease != _RELEASED
    if part == "major":
        return f"{major + (not (leads_up and minor == patch == 0))}.0.0"
    if part == "minor":
        return f"{major}.{minor + (not (leads_up and patch == 0))}.0"
    return f"{major}.{minor}.{patch + (not leads_up)}"
