"""When an agent counts as healthy; each is asked once, and no message contains a token."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from synapse_apply.model.checkup import CheckResult
from synapse_apply.model.coding.json_types import ServerAnswer
from synapse_apply.model.command import join_texts
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
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
from synapse_apply.operations.checks.target_checkup import LazyTargetParts, UncheckedError

CHECK_NAME = "agent"
AskHealth = Callable[[str], Mapping[str, Any]]
ResolveSecret = Callable[[SecretRef], Sensitive]

_HEALTHY_WORDS = {
    *("active", "busy", "connected", "healthy", "idle", "ok", "online", "ready", "running", "up"),
}
_UNHEALTHY_WORDS = {
    *("dead", "degraded", "disconnected", "down", "error", "failed", "inactive", "offline"),
    *("stopped", "unavailable", "unhealthy", "unreachable"),
}
_HEALTH_FLAGS = ("connected", "healthy")
_WORD_PATTERN = re.compile(r"[A-Za-z][A-Za-z _-]{0,31}")


@frozen
class Agent:
    """An agent by its name in the project file, or by the variable that holds its token."""

    name: str
    token: SecretRef


def build_agents(tokens_by_name: Mapping[str, SecretRef]) -> tuple[Agent, ...]:
    """The agents that a target names."""
    return tuple(Agent(name, token) for name, token in tokens_by_name.items())


def check_agents_named_by_target(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """The rows for the target's agents; without a backend, only their variables are checked."""
    target = checkup.target.get_or_raise_unchecked_error()
    target_agents = build_agents(target.agents)
    if not target_agents:
        yield CheckResult.build_ok("agents", "the target names none")
        return
    ask_health, reason = _get_health_call_or_reason(checkup)
    resolve = checkup.session.resolver.resolve_setting
    yield from check_token_and_health_of_each_agent(target_agents, resolve, ask_health, reason)


def check_token_and_health_of_each_agent(
    asked_agents: Sequence[Agent],
    resolve: ResolveSecret,
    ask_health_unless_unreachable: AskHealth | None,
    reason_not_asked: str = "",
) -> list[CheckResult]:
    """A row for each agent; all are asked at the same time, also two of one token.

    A token that cannot be resolved is a problem, also where no agent is asked.
    """
    with ThreadPoolExecutor(max(1, min(len(asked_agents), 10)), thread_name_prefix="agent") as pool:
        return list(
            pool.map(
                lambda agent: _check_token_and_health_of_agent(
                    agent, resolve, ask_health_unless_unreachable, reason_not_asked
                ),
                asked_agents,
            )
        )


def _get_health_call_or_reason(checkup: LazyTargetParts) -> tuple[AskHealth | None, str]:
    try:
        checkup.answer_seconds.get_or_raise_unchecked_error()
        return checkup.backend.get_or_raise_unchecked_error().api.health_check_agent, ""
    except UncheckedError as missing:
        return None, f"{missing}"


def _check_token_and_health_of_agent(
    agent: Agent, resolve: ResolveSecret, ask_health: AskHealth | None, reason: str
) -> CheckResult:
    try:
        token = str(resolve(agent.token).reveal()).strip()
    except SecretUnavailable as missing:
        return CheckResult.from_finding(
            CHECK_NAME, _build_missing_token_finding(agent, missing), agent.name
        )
    if ask_health is None:
        return CheckResult.build_unchecked(CHECK_NAME, reason, agent.name)
    try:
        answer = ask_health(token)
    except RemoteError as failure:
        return CheckResult.from_finding(
            CHECK_NAME, _build_failure_finding(agent, failure), agent.name
        )
    return _build_result_from_health_answer(agent, answer, token)


def _build_result_from_health_answer(agent: Agent, answer: ServerAnswer, token: str) -> CheckResult:
    """A success means healthy (API page, `health_check_agent`), unless the answer denies it."""
    status = answer.get("status")
    word = status.strip() if isinstance(status, str) else ""
    # What is no plain word, or could be the token handed back, is not told.
    status_text = word if _WORD_PATTERN.fullmatch(word) and token not in word else ""
    flags = [f"not {flag}" for flag in _HEALTH_FLAGS if answer.get(flag) is False]
    if word.lower() in _UNHEALTHY_WORDS or flags:
        finding = error_finding(
            "An agent is not healthy",
            f"The backend says that agent {agent.name} is {', '.join(flags) or status_text}.",
            "Start the agent, or look at its log on the machine it runs on.",
        )
        return CheckResult.from_finding(CHECK_NAME, finding, agent.name)
    if word and word.lower() not in _HEALTHY_WORDS:
        finding = warning_finding(
            "An agent has a status that is not known here",
            f"The backend answers for agent {agent.name}"
            + (f", and calls it {status_text}." if status_text else "."),
        )
        return CheckResult.from_finding(CHECK_NAME, finding, agent.name)
    return CheckResult.build_ok(CHECK_NAME, status_text or "healthy", agent.name)


def _build_missing_token_finding(agent: Agent, missing: SecretUnavailable) -> Diagnostic:
    reason = "; ".join(finding.detail for finding in missing.diagnostics)
    hint = join_texts("; ", (finding.hint for finding in missing.diagnostics))
    return error_finding("An agent's token is not there", f"Agent {agent.name}: {reason}.", hint)


_FAILURE_TEXTS: tuple[tuple[type[RemoteError], str, str], ...] = (
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
_OTHER_FAILURE_TEXT = (
    "An agent could not be asked",
    "Check what {variable} holds, and the target's url.",
)


def _build_failure_finding(agent: Agent, failure: RemoteError) -> Diagnostic:
    matching_texts = (
        (summary, hint) for kind, summary, hint in _FAILURE_TEXTS if isinstance(failure, kind)
    )
    summary, hint = next(matching_texts, _OTHER_FAILURE_TEXT)
    # A status says all there is: the server's own words are withheld, the path has the token.
    status_reason = f"the backend answered {failure.status_code}"
    reason = status_reason if failure.status_code >= 400 else f"{failure}".removesuffix(".")
    return error_finding(
        summary,
        f"Agent {agent.name}: {reason}.",
        hint.format(variable=agent.token.name),
        request_id=failure.request_id,
    )
