"""Which agents `agents check` asks for their health, and what it returns of them."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.model.checkup import Checkup
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.phrases import suggest_name_or_default_hint
from synapse_apply.model.project import Target
from synapse_apply.model.values import SecretRef
from synapse_apply.operations.checks.agents import (
    Agent,
    build_agents,
    check_token_and_health_of_each_agent,
)
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.target_session import TargetSession


def check_health_of_target_or_variable_agents(
    invocation: Invocation, names: Sequence[str] = (), variables: Sequence[str] = ()
) -> Checkup:
    """Ask each agent for its health, once, and return a row for each.

    `names` are agents of the target, all of them without any name; `variables` are environment
    variables that hold the token of further agents. A failing agent hides no other. InputError,
    before any request, for a name that the target does not have, and without any agent.
    """
    session = TargetSession(invocation, read_only=True)
    target = session.target
    variable_agents = tuple(
        Agent(name, SecretRef("env", name)) for name in dict.fromkeys(variables)
    )
    target_agents = (
        () if variable_agents and not names else _require_named_agents_or_all(target, names)
    )
    with session:
        results = check_token_and_health_of_each_agent(
            (*target_agents, *variable_agents),
            session.resolver.resolve_setting,
            session.backend.api.health_check_agent,
        )
    checkup = Checkup(target.name, (("Agents", tuple(results)),))
    return checkup.with_target(invocation.target or "")


def _require_named_agents_or_all(target: Target, names: Sequence[str]) -> tuple[Agent, ...]:
    if not target.agents:
        raise InputError.from_summary(
            "The target names no agents",
            f"Target {target.name} has no `agents:` in the project file.",
            "Name them there, such as {gpu-1: {env: NAME}}, or give --token-env VARIABLE.",
            position=target.position,
        )
    unknown_names = [name for name in dict.fromkeys(names) if name not in target.agents]
    if unknown_names:
        raise InputError(*(_build_unknown_agent_finding(target, name) for name in unknown_names))
    return build_agents(
        {name: target.agents[name] for name in dict.fromkeys(names or target.agents)}
    )


def _build_unknown_agent_finding(target: Target, name: str) -> Diagnostic:
    hint = suggest_name_or_default_hint(
        name, target.agents, f"There are {', '.join(target.agents)}."
    )
    detail = f"Target {target.name} names no agent {name}."
    return error_finding("There is no such agent", detail, hint, position=target.position)
