"""Which target a command uses where none, one or several are declared."""

from __future__ import annotations

import re
from collections.abc import Mapping

from synapse_apply.manifests.project.credentials import (
    HOST_VARIABLE,
    TOKEN_VARIABLE,
    ReadLogin,
    environment_or_login_has_host,
    with_url_token_and_tenant_filled,
)
from synapse_apply.model.errors import InputError
from synapse_apply.model.phrases import (
    format_short_list,
    suggest_closest_or_list_known_words_or_empty,
)
from synapse_apply.model.project import EMBEDDED, Project, Target

_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def list_declared_targets(project: Project) -> tuple[Target, ...]:
    """The targets that the project file declares, in its order."""
    return tuple(target for target in project.targets.values() if target.position is not None)


def list_declared_target_names(project: Project) -> list[str]:
    """Their names; makes no target but the embedded one, which need not be declared."""
    return [
        name
        for name in project.targets
        if name != EMBEDDED or project.targets[EMBEDDED].position is not None
    ]


def read_no_login() -> None:
    """Return None: the login reader of commands that use no stored login."""


def choose_and_fill_target(
    project: Project,
    name: str | None,
    environ: Mapping[str, str],
    is_interactive: bool,
    read_login_file_or_none: ReadLogin = read_no_login,
) -> Target:
    """The target of a command, missing settings filled from the environment and a login.

    Raises InputError where the name is unknown, or none was given and the choice is not clear.
    """
    return with_url_token_and_tenant_filled(
        _choose_unfilled_target(project, name, environ, is_interactive, read_login_file_or_none),
        environ,
        read_login_file_or_none,
    )


def select_targets_to_check(project: Project, name: str | None) -> tuple[Target, ...]:
    """The targets that `validate` checks: the named one, else the declared ones, else embedded."""
    if name:
        return (_require_named_or_environment_target(project, name, {}),)
    # Without an environment: checking manifests needs no credentials.
    return list_declared_targets(project) or (
        _require_named_or_environment_target(project, EMBEDDED, {}),
    )


def _choose_unfilled_target(
    project: Project,
    name: str | None,
    environ: Mapping[str, str],
    is_interactive: bool,
    read_login_file_or_none: ReadLogin,
) -> Target:
    if name:
        return _require_named_or_environment_target(project, name, environ, read_login_file_or_none)
    if project.default_target:
        return _require_named_or_environment_target(
            project, project.default_target, environ, read_login_file_or_none
        )
    declared = list_declared_target_names(project)
    if len(declared) == 1:
        return project.targets[declared[0]]
    if declared:
        names = format_short_list(declared)
        raise InputError.from_summary(
            "Which target?",
            f"the project has {len(declared)} targets: {names}",
            "pass --target NAME, or set default_target in synapse-apply.yaml",
        )
    set_variables = [
        variable for variable in (HOST_VARIABLE, TOKEN_VARIABLE) if environ.get(variable)
    ]
    # Set variables mean that a real backend was intended, and a pipeline must never guess.
    if is_interactive and not set_variables:
        return _require_named_or_environment_target(project, EMBEDDED, environ)
    reason = f"{' and '.join(set_variables)} set" if set_variables else "not on a terminal"
    raise InputError.from_summary(
        "Which target?",
        f"no target is declared, and the embedded backend is not assumed ({reason})",
        f"pass --target {EMBEDDED}, or declare a target in synapse-apply.yaml",
    )


def _require_named_or_environment_target(
    project: Project,
    name: str,
    environ: Mapping[str, str],
    read_login_file_or_none: ReadLogin = read_no_login,
) -> Target:
    if name in project.targets:
        return project.targets[name]
    if name == EMBEDDED:
        return Target(EMBEDDED)
    if (
        _NAME_PATTERN.fullmatch(name)
        and not list_declared_target_names(project)
        and environment_or_login_has_host(environ, read_login_file_or_none)
    ):
        # Without declared targets the environment describes the backend; any name may be given to
        # it.
        return Target(name)
    known_names = [*list_declared_target_names(project), EMBEDDED]
    raise InputError.from_summary(
        "Unknown target",
        f"there is no target `{name}`",
        suggest_closest_or_list_known_words_or_empty(name, known_names),
    )
