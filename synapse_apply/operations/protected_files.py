"""Which files no report may overwrite: a project's state and keys, its manifests, saved plans."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from synapse_apply.files.checkout import explain_link_out
from synapse_apply.files.opening import OWN_FOLDER
from synapse_apply.manifests.decode.loading import has_our_documents, is_inventory_file
from synapse_apply.manifests.files import ManifestPaths
from synapse_apply.manifests.project.project import find_project_file
from synapse_apply.manifests.yaml.reader import read_documents
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import replace
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import FILE, FOLDER
from synapse_apply.operations.saved_plan_file import is_plan_file
from synapse_apply.workspace import configuration, state_access
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.state_key import key_path_beside_state


def explain_protection(path: Path, invocation: Invocation, *, inventory: bool = False) -> str:
    """Why `path` (absolute) must not be overwritten, as the end of a sentence; else "".

    A project file with errors raises nothing: then only itself and the state folder count. A new
    `inventory` may lie among the manifests, whose reader skips it.
    """
    if reason := explain_link_out(path):
        return reason
    path = Path(os.path.realpath(path))
    file = invocation.project or find_project_file(invocation.directory)
    own_folder = Path(file.parent if file else invocation.directory, OWN_FOLDER)
    if any(_is_same_file(ancestor, own_folder) for ancestor in (path, *path.parents)):
        return f"lies in {OWN_FOLDER}, where the project keeps its state and its keys"
    if file is not None and _is_same_file(path, file):
        return "is the project file"
    # A plan that was reviewed must not be lost to a report of the same name.
    if is_plan_file(path):
        return "is a saved plan"
    if any(_is_same_file(path, variable_file) for variable_file in invocation.variable_files):
        return "is a file of variables"
    with suppress(SynapseApplyError, OSError):
        project = configuration.load_valid_project_or_defaults(replace(invocation, project_from=""))
        # The local states and keys of all targets, links followed: some lie outside the project.
        for target in project.targets.values():
            url, key_file = target.state.url, target.state.key_file
            for file_of_state in (
                key_path_beside_state(project, target),
                project.root / key_file if key_file else None,
                state_access.local_path_of(url, project) if isinstance(url, str) else None,
            ):
                if file_of_state is None:
                    continue
                state_path = Path(os.path.realpath(file_of_state))
                # The state, its key or a copy of that, its lock or its journal.
                names = (state_path.name, f"{state_path.stem}.key")
                if path.parent == state_path.parent and path.name.startswith(names):
                    return "is the state of a target, or belongs to it"
        if any(_is_same_file(path, project.root / name) for name in project.list_files):
            return "is a list of targets"
        # The project's own manifests, and those that the command line names instead.
        named = tuple(str(invocation.directory / path) for path in invocation.paths)
        readers = (
            ManifestPaths(project, target, selection)
            for target in _distinct_targets(project, invocation)
            for selection in {(), named}
        )
        if not path.exists():
            is_future_manifest = not inventory and any(one.would_read(path) for one in readers)
            return "would be read as a manifest" if is_future_manifest else ""
        for listing in (one.collect() for one in readers if path.is_file()):
            if any(_is_same_file(path, listed) for listed in listing.files):
                reading = read_documents(path.read_bytes(), path.name)
                has_documents = not listing.implicit or has_our_documents(reading)
                if has_documents and not is_inventory_file(reading):
                    return "is a manifest of this project"
                break
        return "is a file of a package" if _is_package_file(path, project, invocation) else ""
    return ""


def _distinct_targets(project: Project, invocation: Invocation) -> tuple[Target, ...]:
    """The targets whose manifests are to be looked at: of those that a list makes alike, one.

    The chosen target is always among them.
    """
    distinct: dict[object, Target] = {}
    for name, target in project.targets.items():
        is_alike = target.row is not None and name != invocation.target
        distinct.setdefault((target.manifests, target.allow_files) if is_alike else name, target)
    return tuple(distinct.values())


def _is_package_file(path: Path, project: Project, invocation: Invocation) -> bool:
    """Whether it is a package's zip, or a file that goes into one; ignored files are not."""
    # Here, not above: few reports take the place of a file that is there.
    from synapse_apply.packages.sources import SourceFiles

    for target in _distinct_targets(project, invocation):
        for resource in configuration.load_target_manifests(
            invocation, project, target
        ).desired.values():
            source = resource.source
            if source is None or source.kind not in (FOLDER, FILE):
                continue
            source_path = Path(os.path.realpath(project.root / source.path))
            if _is_same_file(path, source_path):
                return True
            if path.is_relative_to(source_path):
                with SourceFiles(source, project.root, target.allow_files).open() as opened_source:
                    relative_path = path.relative_to(source_path).as_posix()
                    if any(entry.path == relative_path for entry in opened_source.entries):
                        return True
    return False


def _is_same_file(first: Path, second: Path) -> bool:
    """Whether two paths lead to one file, also where the file system ignores case."""
    try:
        return first.samefile(second)
    except (OSError, ValueError):
        return str(first) == os.path.realpath(second)
