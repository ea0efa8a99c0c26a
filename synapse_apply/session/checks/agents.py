"""The health of agents: one request each, sent once. A token is never part of what is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from synapse_apply.model.checkup import Row
from synapse_apply.model.diagnostic import Diagnostic, error, warning
from synapse_apply.model.errors import (
    Forbidden,
    NotFound,
    RateLimited,
    RemoteError,
    RemoteTimeout,
    SecretUnavailable,
    ServerFault,
    Unauthorized,
    Unreachable,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import SecretRef, Sensitive
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.session.checks.patient import Patient, Unchecked

CHECK = "agent"
Ask = Callable[[str], Mapping[str, Any]]
Resolve = Callable[[SecretRef], Sensitive]

_WELL = {
    *("active", "busy", "connected", "healthy", "idle", "ok", "online", "ready", "running", "up"),
}
_ILL = {
    *("dead", "degraded", "disconnected", "down", "error", "failed", "inactive", "offline"),
    *("stopped", "unavailable", "unhealthy", "unreachable"),
}
_FLAGS = ("connected", "healthy")
_WORD = re.compile(r"[A-Za-z][A-Za-z _-]{0,31}")


@frozen
class Agent:
    """An agent by its name in the project file, or by the variable that holds its token."""

    name: str
    token: SecretRef


def of_target(named: Mapping[str, SecretRef]) -> tuple[Agent, ...]:
    """The agents that a target names."""
    return tuple(Agent(name, token) for name, token in named.items())


def agents(patient: Patient) -> Iterator[Row]:
    """The agents of the target; their variables are looked at even where nobody can be asked."""
    target = patient.target.needed()
    found = of_target(target.agents)
    if not found:
        yield Row.ok("agents", "the target names none")
        return
    ask, why = _ask_of(patient)
    resolver = Resolver(patient.project.needed().root, patient.where.environ)
    yield from health(found, resolver.resolve_setting, ask, why)


def health(found: Sequence[Agent], resolve: Resolve, ask: Ask | None, why: str = "") -> list[Row]:
    """A row for each agent, all asked at once. Without `ask` nobody is, and `why` says so."""
    with ThreadPoolExecutor(max(1, min(len(found), 10)), thread_name_prefix="agent") as pool:
        return list(pool.map(lambda agent: _row(agent, resolve, ask, why), found))


def _ask_of(patient: Patient) -> tuple[Ask | None, str]:
    try:
        patient.answer.needed()
        return patient.backend.needed().api.health_check_agent, ""
    except Unchecked as missing:
        return None, f"{missing}"


def _row(agent: Agent, resolve: Resolve, ask: Ask | None, why: str) -> Row:
    try:
        token = str(resolve(agent.token).reveal()).strip()
    except SecretUnavailable as missing:
        return Row.of(CHECK, _without_token(agent, missing), agent.name)
    if ask is None:
        return Row.unchecked(CHECK, why, agent.name)
    try:
        answer = ask(token)
    except RemoteError as failure:
        return Row.of(CHECK, _failed(agent, failure), agent.name)
    return _judged(agent, answer, token)


def _judged(agent: Agent, answer: Mapping[str, Any], token: str) -> Row:
    """A success is health (API page, `health_check_agent`), unless the answer says otherwise."""
    said = answer.get("status")
    word = said.strip() if isinstance(said, str) else ""
    # What is no plain word, or could be the token handed back, is not told.
    shown = word if _WORD.fullmatch(word) and token not in word else ""
    flags = [f"not {flag}" for flag in _FLAGS if answer.get(flag) is False]
    if word.lower() in _ILL or flags:
        finding = error(
            "An agent is not healthy",
            f"The backend says that agent {agent.name} is {', '.join(flags) or shown}.",
            "Start the agent, or look at its log on the machine it runs on.",
        )
        return Row.of(CHECK, finding, agent.name)
    if word and word.lower() not in _WELL:
        finding = warning(
            "An agent has a status that is not known here",
            f"The backend answers for agent {agent.name}"
            + (f", and calls it {shown}." if shown else "."),
        )
        return Row.of(CHECK, finding, agent.name)
    return Row.ok(CHECK, shown or "healthy", agent.name)


def _without_token(agent: Agent, missing: SecretUnavailable) -> Diagnostic:
    why = "; ".join(one.detail for one in missing.diagnostics)
    hint = "; ".join(one.hint for one in missing.diagnostics)
    return error("An agent's token is not there", f"Agent {agent.name}: {why}.", hint)


_FAILURES: tuple[tuple[type[RemoteError], str, str], ...] = (
    (
        NotFound,
        "No agent has this token",
        "Check {variable}, and that the agent belongs to the target's tenant.",
    ),
    (Unauthorized, "The backend does not accept the access token", "Check the target's token."),
    (Forbidden, "The access token may not ask for this agent", "Check the target's token, tenant."),
    (RateLimited, "An agent could not be asked", "Try again later."),
    (
        RemoteTimeout,
        "An agent does not answer in time",
        "Start the agent, or look at its log on the machine it runs on.",
    ),
    (Unreachable, "An agent could not be asked", "Try again; check the url and the network."),
    (
        ServerFault,
        "An agent is not healthy",
        "Start the agent, or look at its log on the machine it runs on.",
    ),
)
_UNUSABLE = "An agent could not be asked", "Check what {variable} holds, and the target's url."


def _failed(agent: Agent, failure: RemoteError) -> Diagnostic:
    found = ((summary, hint) for kind, summary, hint in _FAILURES if isinstance(failure, kind))
    summary, hint = next(found, _UNUSABLE)
    # A status says all there is: the server's own words are withheld, the path has the token.
    answered = f"the backend answered {failure.status_code}"
    why = answered if failure.status_code >= 400 else f"{failure}".removesuffix(".")
    return error(
        summary,
        f"Agent {agent.name}: {why}.",
        hint.format(variable=agent.token.name),
        request_id=failure.request_id,
    )
