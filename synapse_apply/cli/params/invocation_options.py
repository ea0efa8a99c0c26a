"""Where a command was run, as options: those that it prints are to meet the same place."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synapse_apply.workspace.invocation import Invocation


def format_location_options(invocation: Invocation) -> str:
    """-C, --project and -t as far as they were given, for a shell; "" where none was."""
    return " ".join(_iter_location_options(invocation))


def _iter_location_options(invocation: Invocation) -> Iterator[str]:
    current_folder = Path.cwd()
    if invocation.directory != current_folder:
        yield f"-C {shlex.quote(_format_relative_path(current_folder, invocation.directory))}"
    if invocation.project is not None:
        yield (
            f"--project "
            f"{shlex.quote(_format_relative_path(invocation.directory, invocation.project))}"
        )
    if invocation.target:
        yield f"-t {shlex.quote(invocation.target)}"


def _format_relative_path(folder: Path, path: Path) -> str:
    """Relative where it lies inside, else as it is."""
    normal_path = Path(os.path.normpath(path))
    return (
        str(normal_path.relative_to(folder))
        if normal_path.is_relative_to(folder)
        else str(normal_path)
    )
