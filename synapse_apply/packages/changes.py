"""What changed between two contents of a package."""

from __future__ import annotations

from collections.abc import Mapping

from synapse_apply.model.frozen import frozen
from synapse_apply.packages.content import EXECUTABLE


@frozen
class FileChange:
    """One path that differs. `verb` is added, removed or changed.

    `content`: its bytes differ. `executable` is what its executable bit became, None where it is
    what it was.
    """

    path: str
    verb: str
    content: bool = True
    executable: bool | None = None


def changes(
    old: Mapping[str, str], new: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(added, removed, changed) paths of two `Package.files`, each sorted."""
    return (
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(old.keys() - new.keys())),
        tuple(sorted(path for path in old.keys() & new.keys() if old[path] != new[path])),
    )


def file_changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[FileChange, ...]:
    """Every path that differs between two `Package.files`, by path."""
    added, removed, changed = changes(old, new)
    found = [FileChange(path, "added", executable=_runs(new[path]) or None) for path in added]
    found += [FileChange(path, "removed") for path in removed]
    for path in changed:
        before, after = old[path], new[path]
        same = before.removesuffix(EXECUTABLE) == after.removesuffix(EXECUTABLE)
        moved = None if _runs(before) == _runs(after) else _runs(after)
        found.append(FileChange(path, "changed", not same, moved))
    return tuple(sorted(found, key=lambda one: one.path))


def _runs(content: str) -> bool:
    return content.endswith(EXECUTABLE)
