"""What changed between two contents of a package, and the version to give the newer one."""

from __future__ import annotations

import re
from collections.abc import Mapping

_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?"
)


def changes(
    old: Mapping[str, str], new: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(added, removed, changed) paths of two `Package.files`, each sorted."""
    return (
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(old.keys() - new.keys())),
        tuple(sorted(path for path in old.keys() & new.keys() if old[path] != new[path])),
    )


def next_patch_version(version: str) -> str | None:
    """The next free patch of a semantic version; None when it is not one.

    1.2.3 gives 1.2.4; a pre-release gives its release: 1.2.3-rc.1 gives 1.2.3 (semver.org, 11).
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        return None
    major, minor, patch = match[1], match[2], int(match[3])
    return f"{major}.{minor}.{patch if match[4] else patch + 1}"
