"""Where a command was run, as options: those that it prints are to meet the same place."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


def same_place(where: Where) -> str:
    """-C, --project and -t as far as they were given, for a shell; "" where none was."""
    return " ".join(_options(where))


def _options(where: Where) -> Iterator[str]:
    here = Path.cwd()
    if where.directory != here:
        yield f"-C {shlex.quote(_from(here, where.directory))}"
    if where.project is not None:
        yield f"--project {shlex.quote(_from(where.directory, where.project))}"
    if where.target:
        yield f"-t {shlex.quote(where.target)}"


def _from(folder: Path, path: Path) -> str:
    """Relative where it lies inside, else as it is."""
    plain = Path(os.path.normpath(path))
    return str(plain.relative_to(folder)) if plain.is_relative_to(folder) else str(plain)
