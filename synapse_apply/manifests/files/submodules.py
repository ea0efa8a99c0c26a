"""Whether an empty folder among the manifests is a Git submodule that is not checked out."""

from __future__ import annotations

from pathlib import Path

from synapse_apply.files.checkout import read_submodule_paths_of_existing_gitmodules


def is_missing_submodule(empty_folder: Path) -> bool:
    """Whether an empty folder is where the checkout above it has a submodule.

    Git tracks no empty folder, and leaves one in the place of a submodule that is not checked out.
    `.gitmodules` lists its path (gitmodules(5)).
    """
    folder = empty_folder.resolve()
    for parent in folder.parents:
        try:
            submodule_paths = read_submodule_paths_of_existing_gitmodules(parent)
        except OSError:
            continue
        # The nearest `.gitmodules` decides: one further up lists the submodules of its own
        # repository.
        return folder.relative_to(parent).as_posix() in submodule_paths
    return False
