"""Waiting that people can see: a line that counts down on a terminal, one line elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from synapse_apply.applying.settle import ResolvedIntent
from synapse_apply.cli.console import Console
from synapse_apply.operations.wait_for_outcomes import WaitCallback, wait_for_open_calls
from synapse_apply.planning.refusals import format_short_list
from synapse_apply.views.sanitize import sanitize
from synapse_apply.workspace.target_session import TargetSession

_CLEAR_LINE = "\r\033[K"


def wait_if_requested(console: Console, session: TargetSession, *, is_requested: bool) -> None:
    """Where it is `is_requested`, come back when it is certain what became of calls open now."""
    if is_requested:
        wait_for_open_calls(session, build_wait_callback(console, session.pause))


def build_wait_callback(console: Console, pause: Callable[[float], None]) -> WaitCallback:
    """Lets time pass with `pause`, and says on stderr for how long and for what."""

    def wait_and_show(seconds: float, young_intents: Sequence[ResolvedIntent]) -> None:
        if not console.can_redraw_stderr:
            console.write_stderr(
                f"Waiting {math.ceil(seconds)} s {_format_wait_purpose(young_intents)}\n"
            )
            pause(seconds)
            return
        try:
            while seconds > 0:
                console.write_stderr(
                    f"{_CLEAR_LINE}Waiting {math.ceil(seconds)} s "
                    f"{_format_wait_purpose(young_intents)}"
                )
                interval = min(seconds, 1.0)
                pause(interval)
                seconds -= interval
        finally:
            console.write_stderr(_CLEAR_LINE)

    return wait_and_show


def _format_wait_purpose(young_intents: Sequence[ResolvedIntent]) -> str:
    calls = "an earlier call" if len(young_intents) == 1 else f"{len(young_intents)} earlier calls"
    names = format_short_list(
        f"{resolved.intent.verb} of {resolved.intent.address}" for resolved in young_intents
    )
    return sanitize(f"until it is certain what became of {calls}: {names}")
