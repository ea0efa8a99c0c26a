"""Which texts are versions, and how they are ordered and raised: semantic versioning 2.0.0."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?"
)
# `schemas/v1/parts.schema.json` has the same pattern.
_VERSION_CHARS = re.compile(r"[A-Za-z0-9._+-]{1,64}")
VersionSortKey = tuple[int, int, int, tuple[tuple[int, int, str], ...]]
_NO_PRERELEASE = ((2, 0, ""),)


def is_valid_version(text: str) -> bool:
    """Whether a text may be a release's version: 1 to 64 letters, digits, `.`, `_`, `+` and `-`.

    A version is part of an address, so it must be usable on a command line and in a URL.
    """
    return _VERSION_CHARS.fullmatch(text) is not None


def get_version_sort_key_or_none(version: str) -> VersionSortKey | None:
    """A sort key by semantic versioning 2.0.0, section 11; None for what is not a semantic version.

    Build metadata does not count.
    """
    match = _SEMVER.fullmatch(version)
    if match is None:
        return None
    major, minor, patch, prerelease = match.groups()
    return int(major), int(minor), int(patch), _build_prerelease_sort_key(prerelease)


def _build_prerelease_sort_key(text: str | None) -> tuple[tuple[int, int, str], ...]:
    if not text:
        return _NO_PRERELEASE
    return tuple(
        # Numbers come before texts, and are compared as numbers (section 11.4).
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in text.split(".")
    )


def find_next_free_patch_version_or_empty(version: str, used_versions: Iterable[str]) -> str:
    """The next patch version that is not used; "" for what is not a semantic version."""
    sort_key = get_version_sort_key_or_none(version)
    if sort_key is None:
        return ""
    used = set(used_versions)
    major, minor, patch, prerelease = sort_key
    # A prerelease leads to its own version, which may still be free.
    patch += prerelease == _NO_PRERELEASE
    while f"{major}.{minor}.{patch}" in used:
        patch += 1
    return f"{major}.{minor}.{patch}"


def bump_version_or_empty(version: str, part: str) -> str:
    """The next version by a part (major, minor or patch); "" for what is not a semantic version.

    A prerelease counts as earlier than the version that it leads to: 1.2.0-rc.1 is followed by
    1.2.0 for patch and minor, by 2.0.0 for major. Prerelease and build metadata are dropped.
    """
    sort_key = get_version_sort_key_or_none(version)
    if sort_key is None:
        return ""
    major, minor, patch, prerelease = sort_key
    is_prerelease = prerelease != _NO_PRERELEASE
    if part == "major":
        return f"{major + (not (is_prerelease and minor == patch == 0))}.0.0"
    if part == "minor":
        return f"{major}.{minor + (not (is_prerelease and patch == 0))}.0"
    return f"{major}.{minor}.{patch + (not is_prerelease)}"
