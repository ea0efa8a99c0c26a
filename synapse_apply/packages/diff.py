"""Which files differ between two contents of a package, and in what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from synapse_apply.model.frozen import frozen
from synapse_apply.model.packages.digest import EXECUTABLE_SUFFIX


@frozen
class FileChange:
    """One path that differs; `verb` is added, removed or changed.

    `content`: the bytes differ. `executable` is the new executable bit, None if it is unchanged.
    """

    path: str
    verb: str
    content: bool = True
    executable: bool | None = None


class PathDifferences(NamedTuple):
    """Paths that are in one of two packages only, or differ; each tuple is sorted."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


def compare_paths(old: Mapping[str, str], new: Mapping[str, str]) -> PathDifferences:
    """Compare two `Package.files` by content and executable bit."""
    return PathDifferences(
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(old.keys() - new.keys())),
        tuple(sorted(path for path in old.keys() & new.keys() if old[path] != new[path])),
    )


def list_changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[FileChange, ...]:
    """Each path that differs between two `Package.files`, sorted by path."""
    added, removed, changed = compare_paths(old, new)
    differences = [
        FileChange(path, "added", executable=_is_executable(new[path]) or None) for path in added
    ]
    differences += [FileChange(path, "removed") for path in removed]
    for path in changed:
        old_digest, new_digest = old[path], new[path]
        is_same_content = old_digest.removesuffix(EXECUTABLE_SUFFIX) == new_digest.removesuffix(
            EXECUTABLE_SUFFIX
        )
        new_executable = (
            None
            if _is_executable(old_digest) == _is_executable(new_digest)
            else _is_executable(new_digest)
        )
        differences.append(FileChange(path, "changed", not is_same_content, new_executable))
    return tuple(sorted(differences, key=lambda difference: difference.path))


def _is_executable(digest: str) -> bool:
    return digest.endswith(EXECUTABLE_SUFFIX)
