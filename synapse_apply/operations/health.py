"""When agents count as healthy and a clock as right: for `doctor`, each apply and the library.

Each agent is asked once, and no message contains a token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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
from synapse_apply.model.json_types import ServerAnswer
from synapse_apply.model.project import Target
from synapse_apply.model.remote import ClockSkew
from synapse_apply.model.report import CheckResult
from synapse_apply.model.values import SecretRef, Sensitive

AskHealth = Callable[[str], Mapping[str, Any]]
ResolveSecret = Callable[[SecretRef], Sensitive]

_CHECK = "agent"
_HEALTHY_WORDS = {
    *("active", "busy", "connected", "healthy", "idle", "ok", "online", "ready", "running", "up")
}
_UNHEALTHY_WORDS = {
    *("dead", "degraded", "disconnected", "down", "error", "failed", "inactive", "offline"),
    *("stopped", "unavailable", "unhealthy", "unreachable"),
}
_HEALTH_FLAGS = ("connected", "healthy")
_WORD_PATTERN = re.compile(r"[A-Za-z][A-Za-z _-]{0,31}")
# What no network explains, and no machine that asks a time server shows.
_NOTABLE_SECONDS = 5.0

_LOOK_AT_AGENT = "Start the agent, or check its log on its machine."
_FAILURE_TEXTS: tuple[tuple[type[RemoteError], str, str], ...] = (
    (
        NotFound,
        "No agent has this token",
        "Check {variable}, and that the agent belongs to the target's tenant.",
    ),
    (Unauthorized, "The backend does not accept the access token", "Check the target's token."),
    (
        Forbidden,
        "The access token does not have permission to check this agent",
        "Check the target's token, tenant.",
    ),
    (RateLimited, "An agent could not be checked", "Try again later."),
    (RemoteTimeout, "An agent does not answer in time", _LOOK_AT_AGENT),
    (Unreachable, "An agent could not be checked", "Try again; check the url and the network."),
    (ServerFault, "An agent is not healthy", _LOOK_AT_AGENT),
    (
        RemoteError,
        "An agent could not be checked",
        "Check the value of {variable} and the target's url.",
    ),
)


def ask_agents(
    agents: Sequence[tuple[str, SecretRef]],
    resolve: ResolveSecret,
    ask_health: AskHealth | None,
    reason_not_asked: str = "",
) -> list[CheckResult]:
    """A row for each agent, by its name and token; all are asked at the same time.

    A token that cannot be resolved is a problem, also where no agent is asked: without
    `ask_health`, for `reason_not_asked`.
    """

    def ask(agent: tuple[str, SecretRef]) -> CheckResult:
        name, ref = agent
        try:
            token = str(resolve(ref).reveal()).strip()
            if ask_health is None:
                return CheckResult.build_unchecked(_CHECK, reason_not_asked, name)
            finding = _judge_answer(name, ask_health(token), token)
        except SecretUnavailable as missing:
            reason = "; ".join(each.detail for each in missing.diagnostics)
            finding = error_finding(
                "An agent's token is missing",
                f"Agent {name}: {reason}.",
                join_texts(each.hint for each in missing.diagnostics),
            )
        except RemoteError as failure:
            summary, hint = next(
                texts for kind, *texts in _FAILURE_TEXTS if isinstance(failure, kind)
            )
            # A status says all there is: the server's own words are withheld, the path has the
            # token.
            status_reason = f"the backend answered {failure.status_code}"
            reason = status_reason if failure.status_code >= 400 else f"{failure}".removesuffix(".")
            finding = error_finding(
                summary,
                f"Agent {name}: {reason}.",
                hint.format(variable=ref.name),
                request_id=failure.request_id,
            )
        if isinstance(finding, str):
            return CheckResult.build_ok(_CHECK, finding, name)
        return CheckResult.from_finding(_CHECK, finding, name)

    with ThreadPoolExecutor(max(1, min(len(agents), 10)), thread_name_prefix="agent") as pool:
        return list(pool.map(ask, agents))


def _judge_answer(name: str, answer: ServerAnswer, token: str) -> Diagnostic | str:
    """A success means healthy (API page, `health_check_agent`), unless the answer denies it."""
    status = answer.get("status")
    word = status.strip() if isinstance(status, str) else ""
    # What is no plain word, or could be the token handed back, is not told.
    status_text = word if _WORD_PATTERN.fullmatch(word) and token not in word else ""
    flags = [f"not {flag}" for flag in _HEALTH_FLAGS if answer.get(flag) is False]
    if word.lower() in _UNHEALTHY_WORDS or flags:
        return error_finding(
            "An agent is not healthy",
            f"The backend reports that agent {name} is {', '.join(flags) or status_text}.",
            _LOOK_AT_AGENT,
        )
    if word and word.lower() not in _HEALTHY_WORDS:
        return warning_finding(
            "An agent has an unknown status",
            f"The backend answered for agent {name}"
            + (f" with status {status_text}." if status_text else "."),
        )
    return status_text or "healthy"


def clock_findings(skew: ClockSkew | None, target: Target) -> tuple[Diagnostic, ...]:
    """A warning from a few seconds on, an error above `settle_after`, where it is certain."""
    if skew is None or skew.min_difference <= _NOTABLE_SECONDS:
        return ()
    difference_text = f"This machine's clock {skew.local_clock_description}."
    hint = "Set the clock (`timedatectl` shows whether it follows a time server)."
    if skew.min_difference <= target.settle_after:
        return (warning_finding("The clocks do not agree", difference_text, hint),)
    return (
        error_finding(
            "The clocks are too far apart",
            f"{difference_text} The tool could decide too early that a create without an answer "
            f"was not done, and repeat it: the target's settle_after allows for "
            f"{target.settle_after:g} s.",
            f"{hint} If the server's clock is wrong, raise the target's settle_after.",
        ),
    )
