"""Files that no report may take the place of: a project's state, what it is made of, plans."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from synapse_apply.manifests.files import manifest_files, would_be_read
from synapse_apply.manifests.inventory import is_inventory
from synapse_apply.manifests.loading import has_manifests
from synapse_apply.manifests.project import find_project
from synapse_apply.manifests.reader import read
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.project import Project
from synapse_apply.session import declare, state_file
from synapse_apply.session.plan_file import is_plan
from synapse_apply.session.where import Where
from synapse_apply.stores.private_files import FOLDER


def own(path: Path, where: Where, *, inventory: bool = False) -> str:
    """What of the project lies at this path, links followed, as the end of a sentence; or "".

    A project file with errors is no error here: then its state folder and itself count. A new
    `inventory` may lie among the manifests, where it is passed over.
    """
    path = Path(os.path.realpath(path))
    file = where.project or find_project(where.directory)
    home = Path(file.parent if file else where.directory, FOLDER)
    if any(_same(above, home) for above in (path, *path.parents)):
        return f"lies in {FOLDER}, where the project keeps its state and its keys"
    if file is not None and _same(path, file):
        return "is the project file"
    if is_plan(path):
        return "is a saved plan"
    if any(_same(path, one) for one in where.variable_files):
        return "is a file of variables"
    with suppress(SynapseApplyError, OSError):
        project = declare.project_of(replace(where, project_from=""))
        return _listed(path, project, where, inventory=inventory)
    return ""


def _listed(path: Path, project: Project, where: Where, *, inventory: bool) -> str:
    if any(_belongs(path, at) for at in _states(project)):
        return "is the state of a target, or belongs to it"
    if not path.exists():
        read = not inventory and _would_be_read(path, project, where)
        return "would be read as a manifest" if read else ""
    if _is_manifest(path, project, where):
        return "is a manifest of this project"
    return "is a file of a package" if _is_packed(path, project, where) else ""


def _belongs(path: Path, state: Path) -> bool:
    """Whether it is a state, a key of it, or its lock or journal; a copy of its key, too."""
    names = (state.name, f"{state.stem}.key")
    return path.parent == state.parent and path.name.startswith(names)


def _states(project: Project) -> Iterator[Path]:
    """The states and keys on this disk, links followed: some are outside of the project."""
    for target in project.targets.values():
        yield Path(os.path.realpath(state_file.key_path(project, target)))
        url = target.state.url
        at = state_file.local_path(url, project) if isinstance(url, str) else None
        if at is not None:
            yield Path(os.path.realpath(at))


def _paths(where: Where) -> set[tuple[str, ...]]:
    """The manifests of the project, and those that were named in their place."""
    return {(), tuple(str(where.directory / one) for one in where.paths)}


def _would_be_read(path: Path, project: Project, where: Where) -> bool:
    return any(
        would_be_read(path, project, target, paths)
        for target in project.targets.values()
        for paths in _paths(where)
    )


def _is_packed(path: Path, project: Project, where: Where) -> bool:
    """Whether it is a package's zip, or a file that goes into one; what is left out is not."""
    # Here, not above: few reports take the place of a file that is there.
    from synapse_apply.packages import sources

    for target in project.targets.values():
        for one in declare.loaded(where, project, target).desired.values():
            source = one.source
            if source is None or source.kind not in (sources.FOLDER, sources.FILE):
                continue
            at = Path(os.path.realpath(project.root / source.path))
            if _same(path, at):
                return True
            if path.is_relative_to(at):
                with sources.opened(source, project.root, target.allow_files) as found:
                    inside = path.relative_to(at).as_posix()
                    if any(entry.path == inside for entry in found.entries):
                        return True
    return False


def _is_manifest(path: Path, project: Project, where: Where) -> bool:
    if not path.is_file():
        return False
    for target in project.targets.values():
        for paths in _paths(where):
            listed = manifest_files(project, target, paths)
            if any(_same(path, file) for file in listed.files):
                reading = read(path.read_bytes(), path.name)
                found = not listed.implicit or has_manifests(reading)
                return found and not is_inventory(reading)
    return False


def _same(one: Path, other: Path) -> bool:
    """Also by another spelling, where the file system takes A for a."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return str(one) == os.path.realpath(other)
