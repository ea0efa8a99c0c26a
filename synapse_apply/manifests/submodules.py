"""Git submodules among the manifests that are not checked out: empty folders, to the eye."""

from __future__ import annotations

from pathlib import Path

from synapse_apply.files.checkout import submodules_of


def is_not_checked_out(empty: Path) -> bool:
    """Whether an empty folder is where the checkout above it has a submodule.

    Git tracks no empty folder, and leaves one in the place of a submodule that was not asked for.
    `.gitmodules` tells its path (gitmodules(5)).
    """
    folder = empty.resolve()
    for above in folder.parents:
        try:
            listed = submodules_of(above)
        except OSError:
            continue
        return folder.relative_to(above).as_posix() in listed
    return False
