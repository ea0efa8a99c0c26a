"""What changed between two contents of a package."""

from __future__ import annotations

from collections.abc import Mapping

from synapse_apply.model.frozen import frozen
from synapse_apply.packages.content import EXECUTABLE_SUFFIX


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


def compare_files(
    old: Mapping[str, str], new: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(added, removed, changed) paths of two `Package.files`, each sorted."""
    return (
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(old.keys() - new.keys())),
        tuple(sorted(path for path in old.keys() & new.keys() if old[path] != new[path])),
    )


def list_file_changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[FileChange, ...]:
    """Every path that differs between two `Package.files`, by path."""
    added, removed, changed = compare_files(old, new)
    differences = [
        FileChange(path, "added", executable=_is_executable(new[path]) or None) for path in added
    ]
    differences += [FileChange(path, "removed") for path in removed]
    for path in changed:
        old_content, new_content = old[path], new[path]
        is_same_content = old_content.removesuffix(EXECUTABLE_SUFFIX) == new_content.removesuffix(
            EXECUTABLE_SUFFIX
        )
        new_executable = (
            None
            if _is_executable(old_content) == _is_executable(new_content)
            else _is_executable(new_content)
        )
        differences.append(FileChange(path, "changed", not is_same_content, new_executable))
    return tuple(sorted(differences, key=lambda difference: difference.path))


def _is_executable(content: str) -> bool:
    return content.endswith(EXECUTABLE_SUFFIX)
