"""Which location options printed commands need so that they work in the same place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.model.command import name_target_in_commands

if TYPE_CHECKING:
    from synapse_apply.workspace.invocation import Invocation


def add_invocation_options(text: str, invocation: Invocation) -> str:
    """The text, with the location and target options of this invocation in its commands."""
    return name_target_in_commands(text, invocation.target or "", list_location_options(invocation))


def list_location_options(invocation: Invocation) -> list[str]:
    """-C and --project with their values, as separate words, where they differ from the default."""
    return [*_iter_location_options(invocation)]


def _iter_location_options(invocation: Invocation) -> Iterator[str]:
    current_folder = Path.cwd()
    if invocation.directory != current_folder:
        yield from ("-C", _relative_path(current_folder, invocation.directory))
    if invocation.project is not None:
        yield "--project"
        yield _relative_path(invocation.directory, invocation.project)


def _relative_path(folder: Path, path: Path) -> str:
    """Relative where it lies inside, else as it is."""
    normal_path = Path(os.path.normpath(path))
    return (
        str(normal_path.relative_to(folder))
        if normal_path.is_relative_to(folder)
        else str(normal_path)
    )
