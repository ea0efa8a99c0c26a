"""Files that no report may take the place of: a project's state, its manifests, saved plans."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from synapse_apply.manifests.files import manifest_files
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


def own(path: Path, where: Where) -> str:
    """What of the project lies at this path, links followed, as the end of a sentence; or "".

    A project file with errors is no error here: then its state folder and itself count.
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
    with suppress(SynapseApplyError, OSError):
        return _listed(path, declare.project_of(replace(where, project_from="")), where)
    return ""


def _listed(path: Path, project: Project, where: Where) -> str:
    if any(path.parent == at.parent and path.name.startswith(at.name) for at in _states(project)):
        return "is the state of a target, or belongs to it"
    return "is a manifest of this project" if _is_manifest(path, project, where) else ""


def _states(project: Project) -> Iterator[Path]:
    """The states on this disk that the project file names; others are in the project's folder."""
    for url in (target.state.url for target in project.targets.values()):
        at = state_file.local_path(url, project) if isinstance(url, str) else None
        if at is not None:
            yield Path(os.path.realpath(at))


def _is_manifest(path: Path, project: Project, where: Where) -> bool:
    if not path.is_file():
        return False
    asked = {(), tuple(str(where.directory / one) for one in where.paths)}
    for target in project.targets.values():
        for paths in asked:
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
