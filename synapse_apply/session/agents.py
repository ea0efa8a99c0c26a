"""Use case: ask for the health of agents."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from synapse_apply.model.aim import aimed_checkup
from synapse_apply.model.checkup import Checkup
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import InputError
from synapse_apply.model.project import Target
from synapse_apply.model.values import SecretRef
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.session import declare
from synapse_apply.session.backend import connected
from synapse_apply.session.checks.agents import Agent, health, of_target
from synapse_apply.session.where import Where


def check(where: Where, names: Sequence[str] = (), variables: Sequence[str] = ()) -> Checkup:
    """The agents of these names, all of the target without any, and those of the variables.

    Each is asked once; that one fails hides no other. InputError, before anyone is asked, for a
    name the target does not have, and where there is nobody to ask.
    """
    project, target = declare.target_of(where)
    beside = tuple(Agent(name, SecretRef("env", name)) for name in dict.fromkeys(variables))
    chosen = () if beside and not names else _chosen(target, names)
    with connected(project, target, where.environ, where.parallelism, looking=True) as backend:
        resolve = Resolver(project.root, where.environ).resolve_setting
        rows = health((*chosen, *beside), resolve, backend.api.health_check_agent)
    checkup = Checkup(target.name, (("Agents", tuple(rows)),))
    return aimed_checkup(checkup, where.target or "")


def _chosen(target: Target, names: Sequence[str]) -> tuple[Agent, ...]:
    if not target.agents:
        raise InputError.of(
            "The target names no agents",
            f"Target {target.name} has no `agents:` in the project file.",
            "Name them there, such as {gpu-1: {env: NAME}}, or give --token-env VARIABLE.",
            position=target.position,
        )
    unknown = [name for name in dict.fromkeys(names) if name not in target.agents]
    if unknown:
        raise InputError(*(_unknown(target, name) for name in unknown))
    return of_target({name: target.agents[name] for name in dict.fromkeys(names or target.agents)})


def _unknown(target: Target, name: str) -> Diagnostic:
    near = get_close_matches(name, target.agents, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(target.agents)}."
    detail = f"Target {target.name} names no agent {name}."
    return error("There is no such agent", detail, hint, position=target.position)
