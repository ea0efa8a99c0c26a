"""Which project and target a command works on, and how many seconds it waits for the lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping
from dataclasses import field
from pathlib import Path
from typing import NamedTuple

from synapse_apply.model.frozen import frozen
from synapse_apply.model.packages import PackageFlaw
from synapse_apply.model.project import Project
from synapse_apply.model.secrets.secret_marks import ReadableFiles

# A lease and a half: the lock of a runner that died is taken over, not waited for in vain.
# A killed run's lock is free after a lease; the rest is for who takes it.
_SECONDS_BEYOND_LEASE = 15.0


class PrivateEnvironment(dict[str, str]):
    """Environment variables, of which a traceback that shows locals tells no value and no name."""

    def __repr__(self) -> str:
        return f"<environment of {len(self)} variables>"


class LoadedProjects(NamedTuple):
    """The project of a file, that of its pinned revision, and the first by the second's rules."""

    own: Project
    pinned: Project
    project: Project


class ProjectMemory:
    """What was read for invocations that differ in their target alone.

    These are projects, and the flaws of packages that were looked into.
    """

    def __init__(self) -> None:
        self._projects: dict[Hashable, LoadedProjects] = {}
        self.package_flaws: dict[Hashable, list[PackageFlaw]] = {}

    def get_or_load(self, key: Hashable, load: Callable[[], LoadedProjects]) -> LoadedProjects:
        """The projects of a key, which are loaded once."""
        if key not in self._projects:
            self._projects[key] = load()
        return self._projects[key]

    def forget_projects(self) -> None:
        """Load them again at the next use: a project file was changed."""
        self._projects.clear()


@frozen
class Invocation:
    """Where a command works: project, target, variables, manifests.

    `lock_timeout` is in seconds; with None, `choose_lock_wait_seconds` decides. `project_from` is
    the Git ref that the project file's settings are read from, `as_of` the one that manifests are
    read from. `command` are the words of the command, without options and arguments.

    `without_checkout`: the project file and the files that manifests name are read from `as_of`,
    too; `directory` is the project's folder, in which nothing is but the tool's own.
    `readable_files` are all that the project can name of this machine, None for no limit. `opened`
    is as in ReservedVariables; `closed` are variables and files that manifests may not read, beside
    those that the project file names for credentials, with the hosts that each may go to as the
    target's token, () for no limit.
    `project_memory` keeps the project for other targets of it, None where it is read each time.
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
    without_checkout: bool = False
    readable_files: ReadableFiles | None = None
    opened: tuple[str, ...] = ()
    closed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    project_memory: ProjectMemory | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Frozen by the type checker alone: the values are hidden before anybody has them.
        object.__setattr__(self, "environ", PrivateEnvironment(self.environ))

    def choose_lock_wait_seconds(self, lease_seconds: float) -> float:
        """Seconds to wait for a locked state; by default 0 at a terminal: a person can look.

        `lease_seconds` is the lease of that state's lock.
        """
        if self.lock_timeout is not None:
            return self.lock_timeout
        return 0.0 if self.on_terminal else lease_seconds + _SECONDS_BEYOND_LEASE
