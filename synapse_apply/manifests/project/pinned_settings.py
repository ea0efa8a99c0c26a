"""Which settings come from a pinned revision, and which files are read for other targets alone."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator
from dataclasses import fields, replace
from pathlib import Path

from synapse_apply.manifests.files.manifest_files import format_display_path
from synapse_apply.manifests.project.project import LazyTargets
from synapse_apply.model.diagnostic import Diagnostic, Position, warning_finding
from synapse_apply.model.project import Project, Target

# All settings but these come from the other revision, so that a setting that is added later is safe
# by default.
# These declare resources, so they are the change itself; all other settings restrict it.
_DECLARING_FIELDS = ("manifests", "variables", "variable_places", "overlays", "row")
_NON_SETTING_FIELDS = {"name", "position", *_DECLARING_FIELDS}
# Where a template changed, it is a setting of each target of its list.
_MAX_NAMES = 20
_PROJECT_SETTINGS = ("default_target", "max_package_size", "providers")


def pin_settings(project: Project, rules: Project, revision: str) -> Project:
    """The declarations of `project` under the settings of `rules`, its file at a revision.

    Targets are those that both have. Settings that differ are a warning in `findings`. What either
    names for credentials is reserved: a change must not make one readable by no longer naming it.
    """

    def build_pinned_target(name: str) -> Target:
        own_target, ruling_target = project.targets[name], rules.targets[name]
        return replace(
            ruling_target,
            opened=(*ruling_target.allow_env, *ruling_target.allow_files),
            **{setting: getattr(own_target, setting) for setting in _DECLARING_FIELDS},
        )

    shared = [name for name in project.targets if name in rules.targets]
    warnings = _ignored_settings(project, rules, revision)
    return replace(
        project,
        targets=LazyTargets(shared, build_pinned_target),
        findings=(*project.findings, *warnings),
        reserved=rules.reserved.merge_preferring_own(project.reserved),
        # A change that brings the first one is planned before it is merged. It gives no rights.
        id=rules.id or project.id,
        **{name: getattr(rules, name) for name in _PROJECT_SETTINGS}
        | {"providers": {n: replace(p, doubted=frozenset()) for n, p in rules.providers.items()}},
    )


def _ignored_settings(project: Project, rules: Project, revision: str) -> Iterator[Diagnostic]:
    differing = list(_differing_settings(project, rules))
    if differing:
        names = ", ".join(name for name, _ in differing[:_MAX_NAMES])
        if len(differing) > _MAX_NAMES:
            names += f" and {len(differing) - _MAX_NAMES:,} more"
        positions = sorted(position for _, position in differing if position is not None)
        file_start = (
            Position(format_display_path(project.file, str(Path.cwd())), 1, 1)
            if project.file
            else None
        )
        yield warning_finding(
            "Changed settings of the project file are not used",
            f"{names}: the settings of {revision} are used, not those that stand here.",
            "They hold once the change is merged. Manifests, variables and overlays are read "
            "from here.",
            position=positions[0] if positions else file_start,
        )


def _differing_settings(project: Project, rules: Project) -> Iterator[tuple[str, Position | None]]:
    """The name of each setting that differs, and the position of its target in `project`."""
    if rules.id and rules.id != project.id:
        yield "project.id", None
    for name in _PROJECT_SETTINGS:
        if getattr(project, name) != getattr(rules, name):
            yield name, None
    for name in dict.fromkeys((*project.targets, *rules.targets)):
        own_target, ruling_target = project.targets.get(name), rules.targets.get(name)
        position = own_target.position if own_target else None
        if _is_declared_target(own_target) != _is_declared_target(ruling_target):
            yield f"targets.{name}", position
        elif own_target is not None and ruling_target is not None:
            for setting in _differing_of_target(own_target, ruling_target):
                yield f"targets.{name}.{setting}", position


def _is_declared_target(target: Target | None) -> bool:
    return target is not None and target.position is not None


def _differing_of_target(own_target: Target, ruling_target: Target) -> Iterator[str]:
    # All fields but these, so that a setting that is added later is compared as well.
    for setting in fields(Target):
        name = setting.name
        if name not in _NON_SETTING_FIELDS and getattr(own_target, name) != getattr(
            ruling_target, name
        ):
            yield from _setting_names(own_target, ruling_target, name)


def _setting_names(own_target: Target, ruling_target: Target, name: str) -> list[str]:
    """The names under which the project file has a setting that differs."""
    if name != "source_settings":
        return [name]
    own, ruling = own_target.source_settings, ruling_target.source_settings
    return [source for source in {**own, **ruling} if own.get(source) != ruling.get(source)]


# These are the YAML files in folders that only other targets list as manifests, and the lists of
# `targets_from`. A controller leaves them out of what it compares for a target, so nothing else of
# that target may be read from them.
_MANIFEST_SUFFIXES = (".yaml", ".yml")
# Such a file makes a package of its folder.
_PACKAGE_NAMES = ("config.yaml", "synapse.yaml")


def innermost_folder(path: str, names: Collection[str]) -> str:
    """The deepest of the folders (or files) `names` that a path is at or below; "" for none."""
    while path:
        if path in names:
            return path
        path = path.rpartition("/")[0]
    return ""


def is_nothing_but_manifest(path: str, folder: str) -> bool:
    """Whether a file at or below a folder of manifests can be nothing else, by its name."""
    inner_path = path.removeprefix(folder).lstrip("/") or posixpath.basename(folder)
    parts = inner_path.split("/")
    return (
        parts[-1].endswith(_MANIFEST_SUFFIXES)
        and parts[-1] not in _PACKAGE_NAMES
        and not any(part.startswith(".") for part in parts)
    )


def explain_file_of_others(path: str, project: Project, target: Target) -> str:
    """Why a file of the project is none of a target's, as the end of a sentence; "" where it is."""
    path = posixpath.normpath(path)
    if path in map(posixpath.normpath, project.list_files):
        return "is a list of targets"
    folder = innermost_folder(path, project.manifest_folders)
    if not folder or not is_nothing_but_manifest(path, folder):
        return ""
    own = project.list_manifest_folders(target)
    if "." in own or any(f"{folder}/".startswith(f"{name}/") for name in own):
        return ""
    return f"lies in {folder}, which only other targets list as manifests"
