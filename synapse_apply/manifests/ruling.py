"""A project whose rules are those of another revision, so that a change cannot rule on itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path as FilePath

from synapse_apply.manifests.files import shown
from synapse_apply.model.diagnostic import Diagnostic, Position, warning
from synapse_apply.model.project import Project, Target

# What says what is declared is the change itself; all else of a target rules on it.
_DECLARES = ("manifests", "variables", "variable_places", "overlays")
_NO_SETTING = {"name", "position", *_DECLARES}
_OF_PROJECT = ("default_target", "max_package_size", "providers")


def ruled(project: Project, rules: Project, revision: str) -> Project:
    """What `project` declares under the settings of `rules`, its file as of a revision.

    A target is there when both have it. Settings that differ are told in `findings`. What either
    names for credentials is reserved: a change must not open one by no longer naming it.
    """
    shared = {name: own for name, own in project.targets.items() if name in rules.targets}
    targets = {
        name: replace(rules.targets[name], **{part: getattr(own, part) for part in _DECLARES})
        for name, own in shared.items()
    }
    told = _told(project, rules, revision)
    return replace(
        project,
        targets=targets,
        findings=(*project.findings, *told),
        reserved=rules.reserved.with_those_of(project.reserved),
        **{name: getattr(rules, name) for name in _OF_PROJECT},
    )


def _told(project: Project, rules: Project, revision: str) -> Iterator[Diagnostic]:
    differing = list(_differing(project, rules))
    if differing:
        names = ", ".join(name for name, _ in differing)
        places = sorted(place for _, place in differing if place is not None)
        top = Position(shown(project.file, str(FilePath.cwd())), 1, 1) if project.file else None
        yield warning(
            "Changed settings of the project file are not used",
            f"{names}: the settings of {revision} are used, not those that stand here.",
            "They hold once the change is merged. Manifests, variables and overlays are read "
            "from here.",
            position=places[0] if places else top,
        )


def _differing(project: Project, rules: Project) -> Iterator[tuple[str, Position | None]]:
    """The names of settings that are not the same, and the place of their target here."""
    for name in _OF_PROJECT:
        if getattr(project, name) != getattr(rules, name):
            yield name, None
    for name in dict.fromkeys((*project.targets, *rules.targets)):
        mine, theirs = project.targets.get(name), rules.targets.get(name)
        place = mine.position if mine else None
        if _is_declared(mine) != _is_declared(theirs):
            yield f"targets.{name}", place
        elif mine is not None and theirs is not None:
            for setting in _settings(mine, theirs):
                yield f"targets.{name}.{setting}", place


def _is_declared(target: Target | None) -> bool:
    return target is not None and target.position is not None


def _settings(mine: Target, theirs: Target) -> Iterator[str]:
    for setting in fields(Target):
        name = setting.name
        if name not in _NO_SETTING and getattr(mine, name) != getattr(theirs, name):
            yield name
