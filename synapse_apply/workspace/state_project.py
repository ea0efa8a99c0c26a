"""Whether a state belongs to this project and target alone.

A shared state does by the id in the project file: neither its url nor the first commit tells
projects apart, since a url is copied with a target, shallow clones lack the first commit, and the
projects of a repository share it. Two targets with one state, or one file of a state key, would
each take the objects of the other for its own, and a plan would remove them.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.project import Project, Target, path_in_state_url
from synapse_apply.model.values import ABSENT, SecretRef, get_at_or_absent

if TYPE_CHECKING:
    from synapse_apply.model.state import ProjectAndKeyIds

_SETTING = ("project", "id")


class ProjectId(NamedTuple):
    """The id of a project, "" without one; `is_new` where it is not in the project file yet."""

    text: str
    is_new: bool


NO_PROJECT_ID = ProjectId("", is_new=False)


def project_findings(
    shared_ids: ProjectAndKeyIds, project: Project, target: Target
) -> tuple[Diagnostic, ...]:
    """An error where a shared state belongs to another project or target.

    A warning where it belongs to no project. One of an earlier version names no target.
    """
    recorded_id, findings = shared_ids.project_id, list[Diagnostic]()
    file_name = project.file.name if project.file is not None else "the default project"
    belongs = f"The state of target {target.name} belongs to project {recorded_id}, and {file_name}"
    if recorded_id not in ("", project.id):
        finding = error_finding(
            "This state belongs to another project",
            f"{belongs} is project {project.id}. Two projects with one state would treat each "
            "other's objects as their own.",
            Text(
                f"Give targets.{target.name}.state.url a separate place. If the other project "
                "no longer exists, or this project had that id before: ",
                Command("state rebind", target=target.name),
                ".",
            ),
            position=target.position,
        )
        if not project.id:
            finding = error_finding(
                "The project file lacks the id that this state is bound to",
                f"{belongs} names no project.",
                "If the state belongs to this project: use the project file to which `state "
                f"init` or `state rebind` wrote the id, or add `project: {{id: {recorded_id}"
                f"}}`. If it belongs to another project: give targets.{target.name}.state.url a "
                "separate place.",
                position=target.position,
            )
        return (finding,)
    if not recorded_id:
        finding = warning_finding(
            "This shared state is not bound to a project",
            f"A second project whose target {target.name} has the same state.url would share "
            "this state by accident, and treat its objects as its own.",
            Text(
                "Bind the state to an id in the project file: ",
                Command("state rebind", target=target.name),
                ".",
            ),
            position=target.position,
        )
        findings.append(finding)
    if shared_ids.target not in ("", target.name):
        finding = error_finding(
            "This state belongs to another target",
            f"The state that target {target.name} names belongs to target {shared_ids.target}. "
            "Each target would treat the objects of the other as its own.",
            Text(
                f"If target {shared_ids.target} was renamed to {target.name}: ",
                Command("state rebind", target=target.name),
                f". Otherwise another state replaced this one: correct targets.{target.name}"
                ".state.url, or restore the newest backup: ",
                Command("state restore FILE", target=target.name),
                ".",
            ),
            position=target.position,
        )
        findings.append(finding)
    return tuple(findings)


def project_id_of(project: Project) -> ProjectId:
    """The project's id, or a new one where its file has none; writes nothing."""
    return ProjectId(project.id or str(uuid.uuid4()), is_new=not project.id)


def write_project_id(project: Project, project_id: str) -> None:
    """Write an id into the project file, which keeps its comments; nothing if it has that one.

    InputError without a project file, for a file with another id, and where it cannot be edited.
    """
    if (file := project.file) is None:
        raise InputError.from_summary(
            "There is no project file",
            "A state that several machines share is bound to a project, by an id in its file.",
            Text("Create one: ", Command("init"), "."),
        )
    written_id = _read_setting(file, _SETTING)
    if written_id == project_id:
        return
    # The settings that count are those of a Git ref: what stands here is another id.
    if written_id:
        raise InputError.from_summary(
            "The project file has a different id",
            f"{file} has the project id {written_id}, but the command would write {project_id}.",
            "Run the command without --project-from.",
        )
    write_setting(file, _SETTING, project_id)


def _read_setting(file: Path, path: FieldPath) -> Any:
    """What stands at a path of a project file; ABSENT where nothing does."""
    from synapse_apply.manifests.yaml.reader import read_documents

    documents = read_documents(file.read_bytes(), file.name).documents
    return get_at_or_absent(documents[0].value, path) if documents else ABSENT


def write_setting(file: Path, path: FieldPath, text: str, *, only_check: bool = False) -> None:
    """Write a text into a project file, which keeps its comments; a missing map is added, too.

    InputError where it cannot be edited. `only_check` raises the same, and writes nothing.
    """
    # Here, not above: every plan on a shared state asks for the findings alone.
    from synapse_apply.manifests.rewriting import edited, rewrite_all_or_none
    from synapse_apply.manifests.yaml.editing import Edit

    edit = Edit(path, text, after_key="kind")
    if _read_setting(file, path[:-1]) is ABSENT:
        edit = Edit(path[:-1], {path[-1]: text}, after_key="kind", allow_collections=True)
    rewrite = edited(file, file.name, [edit])  # it refuses what cannot be written
    if not only_check:
        rewrite_all_or_none([rewrite])


def iter_sharing_findings(project: Project, environ: Mapping[str, str]) -> Iterator[Diagnostic]:
    """An error for each target whose state, or file of a state key, is another target's too.

    A url in a variable that is not set, and one that cannot be used, is compared with none.
    """
    targets = project.targets.values()
    # Without a file of somebody's choice each has one by its own name.
    has_key_file = any(target.state.key_file for target in targets)
    if not has_key_file and not any(target.state.url for target in targets):
        return
    owners: dict[Hashable, Target] = {}
    key_findings = []
    for target in targets:
        location = _state_location(project, target, environ)
        owner = owners.setdefault(("state", location), target) if location is not None else target
        position = f" ({owner.position})" if owner.position is not None else ""
        if owner is not target:
            yield error_finding(
                "Two targets have one state",
                f"Target {target.name} keeps its state where target {owner.name}{position} "
                "keeps its own. Each target would treat the objects of the other as its own.",
                f"Give targets.{target.name}.state.url a separate place.",
                position=target.position,
            )
        path = target.state.key_file or f".synapse-apply/state/{target.name}.key"
        owner = owners.setdefault(("key", os.path.realpath(project.root / path)), target)
        position = f" ({owner.position})" if owner.position is not None else ""
        if has_key_file and owner is not target:
            finding = error_finding(
                "Two targets have one file of a state key",
                f"Target {target.name} has its state key in the file of target {owner.name}"
                f"{position}: when the key of one target changes, the other target is locked "
                "out of its state.",
                f"Use a different file in targets.{target.name}.state.key.",
                position=target.position,
            )
            key_findings.append(finding)
    yield from key_findings


def _state_location(project: Project, target: Target, environ: Mapping[str, str]) -> Hashable:
    from synapse_apply.stores.state_urls import comparable_location, is_local_or_empty_url

    url = target.state.url
    if isinstance(url, SecretRef) and not (url := environ.get(url.name, "")):
        return None
    if is_local_or_empty_url(url):
        path = path_in_state_url(url)
        return os.path.realpath(project.root / (path or f".synapse-apply/state/{target.name}.db"))
    try:
        return comparable_location(url, target.name)
    except (InputError, ValueError):
        return None
