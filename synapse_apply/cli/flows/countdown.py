"""How waiting is shown: a countdown on a terminal, one line elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from synapse_apply.cli.console import Console
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.state import Intent, IntentState
from synapse_apply.views.sanitize import sanitize

_CLEAR_LINE = "\r\033[K"


def build_wait_callback(
    console: Console, pause: Callable[[float], None]
) -> Callable[[float, Sequence[Intent], float], None]:
    """A function that waits by `pause`, and says on stderr for which calls and how long at most."""
    shown_ids: set[str] = set()

    def wait_and_show(seconds: float, open_calls: Sequence[Intent], longest: float) -> None:
        purpose = _format_wait_purpose(open_calls)
        if not console.can_redraw_stderr:
            if not shown_ids.issuperset(call.id for call in open_calls):
                console.write_stderr(f"Waiting at most {math.ceil(longest)} s {purpose}\n")
            shown_ids.update(call.id for call in open_calls)
            pause(seconds)
            return
        try:
            while seconds > 0:
                text = f"Waiting at most {math.ceil(longest)} s {purpose}"
                console.write_stderr(f"{_CLEAR_LINE}{text}")
                interval = min(seconds, 1.0)
                pause(interval)
                seconds -= interval
                longest -= interval
        finally:
            console.write_stderr(_CLEAR_LINE)

    return wait_and_show


def _format_wait_purpose(open_calls: Sequence[Intent]) -> str:
    calls = "an earlier call" if len(open_calls) == 1 else f"{len(open_calls)} earlier calls"
    deeds = dict.fromkeys(f"{call.verb} of {call.address}" for call in open_calls)
    names = format_short_list(deeds)
    if all(call.state is IntentState.UNKNOWN for call in open_calls):
        return sanitize(f"until {calls} can no longer act: {names}")
    return sanitize(f"until the effect of {calls} shows, or can no longer come: {names}")
