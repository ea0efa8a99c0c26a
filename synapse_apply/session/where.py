"""What the user said on the command line about the place to work in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Where:
    """What the user said: where the project is, which target, which variables."""

    directory: Path = field(default_factory=Path.cwd)
    project: Path | None = None
    target: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    variable_files: tuple[Path, ...] = ()
    paths: tuple[Path, ...] = ()
    strict: bool = False
    parallelism: int = 10
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    on_terminal: bool = False
