"""How waiting is shown: a countdown on a terminal, one line elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from synapse_apply.cli.console import Console
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.state import Intent
from synapse_apply.views.sanitize import sanitize

_CLEAR_LINE = "\r\033[K"


def build_wait_callback(
    console: Console, pause: Callable[[float], None]
) -> Callable[[float, Sequence[Intent]], None]:
    """A function that waits by `pause`, and says on stderr how long and for which calls."""

    def wait_and_show(seconds: float, open_calls: Sequence[Intent]) -> None:
        if not console.can_redraw_stderr:
            console.write_stderr(
                f"Waiting {math.ceil(seconds)} s {_format_wait_purpose(open_calls)}\n"
            )
            pause(seconds)
            return
        try:
            while seconds > 0:
                console.write_stderr(
                    f"{_CLEAR_LINE}Waiting {math.ceil(seconds)} s "
                    f"{_format_wait_purpose(open_calls)}"
                )
                interval = min(seconds, 1.0)
                pause(interval)
                seconds -= interval
        finally:
            console.write_stderr(_CLEAR_LINE)

    return wait_and_show


def _format_wait_purpose(open_calls: Sequence[Intent]) -> str:
    calls = "an earlier call" if len(open_calls) == 1 else f"{len(open_calls)} earlier calls"
    names = format_short_list(f"{call.verb} of {call.address}" for call in open_calls)
    return sanitize(f"until it is certain what became of {calls}: {names}")
