"""Which target a command means, and the holes the environment fills."""

from __future__ import annotations

import re
from collections.abc import Mapping

from synapse_apply.manifests.holes import HOST, TOKEN, Logged, filled, has_url
from synapse_apply.manifests.wording import did_you_mean
from synapse_apply.model.errors import InputError
from synapse_apply.model.project import EMBEDDED, Project, Target

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def declared_targets(project: Project) -> tuple[Target, ...]:
    """The targets the project file names, in its order."""
    return tuple(target for target in project.targets.values() if target.position is not None)


def nobody() -> None:
    """No login."""


def choose_target(
    project: Project,
    name: str | None,
    environ: Mapping[str, str],
    on_terminal: bool,
    login: Logged = nobody,
) -> Target:
    """The target of a command, its holes filled from the environment and from a login.

    InputError when the name is unknown or none was given and more than one could be meant.
    """
    return filled(_chosen(project, name, environ, on_terminal, login), environ, login)


def targets_to_check(project: Project, name: str | None) -> tuple[Target, ...]:
    """What validate checks: the named target, else all declared ones, else the embedded one."""
    if name:
        return (_named(project, name, {}),)
    return declared_targets(project) or (_named(project, EMBEDDED, {}),)


def _chosen(
    project: Project,
    name: str | None,
    environ: Mapping[str, str],
    on_terminal: bool,
    login: Logged,
) -> Target:
    if name:
        return _named(project, name, environ, login)
    if project.default_target:
        return _named(project, project.default_target, environ, login)
    declared = declared_targets(project)
    if len(declared) == 1:
        return declared[0]
    if declared:
        names = ", ".join(target.name for target in declared)
        raise InputError.of(
            "Which target?",
            f"the project has {len(declared)} targets: {names}",
            "say --target NAME, or set default_target in synapse-apply.yaml",
        )
    set_ = [variable for variable in (HOST, TOKEN) if environ.get(variable)]
    if on_terminal and not set_:
        return _named(project, EMBEDDED, environ)
    why = f"{' and '.join(set_)} set" if set_ else "not on a terminal"
    raise InputError.of(
        "Which target?",
        f"no target is declared, and the embedded backend is not assumed ({why})",
        f"say --target {EMBEDDED}, or declare a target in synapse-apply.yaml",
    )


def _named(
    project: Project, name: str, environ: Mapping[str, str], login: Logged = nobody
) -> Target:
    if name in project.targets:
        return project.targets[name]
    if name == EMBEDDED:
        return Target(EMBEDDED)
    if _NAME.fullmatch(name) and not declared_targets(project) and has_url(environ, login):
        # Without a project file the environment alone describes a backend; the name is its own.
        return Target(name)
    known = [*(target.name for target in declared_targets(project)), EMBEDDED]
    raise InputError.of("Unknown target", f"there is no target `{name}`", did_you_mean(name, known))
