"""Files that no report may take the place of: a project's state, what it is made of, plans."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from synapse_apply.files.opening import OWN_FOLDER
from synapse_apply.manifests.decode.loading import contains_manifest
from synapse_apply.manifests.export.inventory import is_inventory_file
from synapse_apply.manifests.files.manifest_files import find_manifest_files, would_read_file
from synapse_apply.manifests.project.project import find_project_file
from synapse_apply.manifests.yaml.reader import read_documents
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.project import Project
from synapse_apply.operations.saved_plan_file import is_plan_file
from synapse_apply.workspace import configuration, state_access
from synapse_apply.workspace.invocation import Invocation


def describe_protected_file(path: Path, invocation: Invocation, *, inventory: bool = False) -> str:
    """What of the project lies at this path, links followed, as the end of a sentence; or "".

    A project file with errors is no error here: then its state folder and itself count. A new
    `inventory` may lie among the manifests, where it is passed over.
    """
    path = Path(os.path.realpath(path))
    file = invocation.project or find_project_file(invocation.directory)
    own_folder = Path(file.parent if file else invocation.directory, OWN_FOLDER)
    if any(_is_same_file(ancestor, own_folder) for ancestor in (path, *path.parents)):
        return f"lies in {OWN_FOLDER}, where the project keeps its state and its keys"
    if file is not None and _is_same_file(path, file):
        return "is the project file"
    if is_plan_file(path):
        return "is a saved plan"
    if any(_is_same_file(path, variable_file) for variable_file in invocation.variable_files):
        return "is a file of variables"
    with suppress(SynapseApplyError, OSError):
        project = configuration.load_project(replace(invocation, project_from=""))
        return _describe_listed_file(path, project, invocation, inventory=inventory)
    return ""


def _describe_listed_file(
    path: Path, project: Project, invocation: Invocation, *, inventory: bool
) -> str:
    if any(_belongs_to_state(path, state_path) for state_path in _iter_state_paths(project)):
        return "is the state of a target, or belongs to it"
    if not path.exists():
        is_future_manifest = not inventory and _would_be_manifest(path, project, invocation)
        return "would be read as a manifest" if is_future_manifest else ""
    if _is_manifest_file(path, project, invocation):
        return "is a manifest of this project"
    return "is a file of a package" if _is_package_file(path, project, invocation) else ""


def _belongs_to_state(path: Path, state_path: Path) -> bool:
    """Whether it is a state, a key of it, or its lock or journal; a copy of its key, too."""
    names = (state_path.name, f"{state_path.stem}.key")
    return path.parent == state_path.parent and path.name.startswith(names)


def _iter_state_paths(project: Project) -> Iterator[Path]:
    """The states and keys on this disk, links followed: some are outside of the project."""
    for target in project.targets.values():
        yield Path(os.path.realpath(state_access.state_key_path(project, target)))
        url = target.state.url
        local_file = state_access.resolve_local_path(url, project) if isinstance(url, str) else None
        if local_file is not None:
            yield Path(os.path.realpath(local_file))


def _list_manifest_selections(invocation: Invocation) -> set[tuple[str, ...]]:
    """The manifests of the project, and those that were named in their place."""
    return {(), tuple(str(invocation.directory / path) for path in invocation.paths)}


def _would_be_manifest(path: Path, project: Project, invocation: Invocation) -> bool:
    return any(
        would_read_file(path, project, target, selection)
        for target in project.targets.values()
        for selection in _list_manifest_selections(invocation)
    )


def _is_package_file(path: Path, project: Project, invocation: Invocation) -> bool:
    """Whether it is a package's zip, or a file that goes into one; what is left out is not."""
    # Here, not above: few reports take the place of a file that is there.
    from synapse_apply.packages.source import open_source

    for target in project.targets.values():
        for resource in configuration.load_target_manifests(
            invocation, project, target
        ).desired.values():
            source = resource.source
            if source is None or source.kind not in (open_source.FOLDER, open_source.FILE):
                continue
            source_path = Path(os.path.realpath(project.root / source.path))
            if _is_same_file(path, source_path):
                return True
            if path.is_relative_to(source_path):
                with open_source.open_source(
                    source, project.root, target.allow_files
                ) as opened_source:
                    relative_path = path.relative_to(source_path).as_posix()
                    if any(entry.path == relative_path for entry in opened_source.entries):
                        return True
    return False


def _is_manifest_file(path: Path, project: Project, invocation: Invocation) -> bool:
    if not path.is_file():
        return False
    for target in project.targets.values():
        for selection in _list_manifest_selections(invocation):
            listing = find_manifest_files(project, target, selection)
            if any(_is_same_file(path, file) for file in listing.files):
                reading = read_documents(path.read_bytes(), path.name)
                has_documents = not listing.implicit or contains_manifest(reading)
                return has_documents and not is_inventory_file(reading)
    return False


def _is_same_file(first: Path, second: Path) -> bool:
    """Also by another spelling, where the file system takes A for a."""
    try:
        return first.samefile(second)
    except (OSError, ValueError):
        return str(first) == os.path.realpath(second)
