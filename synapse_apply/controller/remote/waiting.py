"""How long a command waits for what a controller was asked to do with a target."""

from __future__ import annotations

from collections.abc import Callable

from synapse_apply.controller.remote.answers import ShownTarget
from synapse_apply.controller.remote.controller_api import ControllerApi, ControllerUnavailable
from synapse_apply.controller.rules.exit_codes import MOST_RUNS_OF_FAILURE, target_exit_code
from synapse_apply.model.errors import Exit, SynapseApplyError

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.2, 2.0


class NotSettledInTime(SynapseApplyError):
    """A target that is still worked on, or is still to be, when the time is over."""


def wait_until_settled(
    api: ControllerApi,
    name: str,
    seconds: float,
    *,
    read_counter: Callable[[], float],
    sleep: Callable[[float], None],
) -> ShownTarget:
    """A target (SOURCE/TARGET) once nothing is done with it, due or asked for.

    That is so when its source is fetched, it was looked at, and what may be applied by itself was
    and was looked at again. NotSettledInTime after `seconds`, ControllerUnavailable where it is not
    there any more.
    """
    end, wait = read_counter() + seconds, _FIRST_WAIT_SECONDS
    while True:
        target = api.find_target(name)
        if target is None:
            raise ControllerUnavailable.from_summary(
                "There is no such target",
                f"{name} is not among the targets of {api.url}, or the token may not read it.",
                "Give the token `read` for it, or wait without it.",
            )
        if target.is_settled:
            return target
        remaining = end - read_counter()
        if remaining <= 0:
            raise NotSettledInTime.from_summary(
                "The time is over",
                f"{name} is still to be looked at or applied.",
                "It goes on; its page says how far it is. Wait longer by --timeout.",
            )
        sleep(min(wait, remaining))
        wait = min(wait * 1.5, _LONGEST_WAIT_SECONDS)


def settled_exit_code(api: ControllerApi, name: str, target: ShownTarget) -> int:
    """The exit code for what became of a target, as of `plan` and `apply`.

    ERROR where its source cannot be followed: it is at an older revision then.
    """
    code = target_exit_code(
        target.state, target.mode, lambda: api.list_newest_runs_first(name, MOST_RUNS_OF_FAILURE)
    )
    is_source_broken = any(
        entry["finding"].get("severity") == "error" for entry in target.source_findings
    )
    return Exit.select_exit_code(code, Exit.ERROR) if is_source_broken else code
