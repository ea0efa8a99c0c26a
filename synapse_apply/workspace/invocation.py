"""What the user said on the command line about the place to work in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from synapse_apply.model.frozen import frozen

# A lease and a half: the lock of a runner that died is taken over, not waited for in vain.
NON_INTERACTIVE_LOCK_SECONDS = 45.0


@frozen
class Invocation:
    """What the user said: where the project is, which target, which variables.

    `lock_timeout` is in seconds; None leaves it to `lock_wait_seconds`. `project_from` is the Git
    ref that the settings of the project file are taken from, `as_of` the one whose manifests are
    meant. `command` is what was typed, without options and arguments.
    """

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
    lock_timeout: float | None = None
    project_from: str = ""
    as_of: str = ""
    command: str = ""

    @property
    def lock_wait_seconds(self) -> float:
        """Seconds to wait for a state that another run holds: none for a person, who can look."""
        if self.lock_timeout is not None:
            return self.lock_timeout
        return 0.0 if self.on_terminal else NON_INTERACTIVE_LOCK_SECONDS
