"""Waiting that people can see: a line that counts down on a terminal, one line elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from synapse_apply.applying.settle import Settled
from synapse_apply.cli.face import Face
from synapse_apply.planning.refusals import listing
from synapse_apply.session.context import Context
from synapse_apply.session.waiting import Wait, wait_for_open_calls
from synapse_apply.views.safety import clean

_CLEAR = "\r\033[K"


def wait_if_asked(face: Face, context: Context, *, asked: bool) -> None:
    """Where it is `asked`, come back when it is certain what became of calls open now."""
    if asked:
        wait_for_open_calls(context, waiter(face, context.pause))


def waiter(face: Face, pause: Callable[[float], None]) -> Wait:
    """Lets time pass with `pause`, and says on stderr for how long and for what."""

    def wait(seconds: float, young: Sequence[Settled]) -> None:
        if not face.draws_on_stderr:
            face.err(f"Waiting {math.ceil(seconds)} s {_purpose(young)}\n")
            pause(seconds)
            return
        try:
            while seconds > 0:
                face.err(f"{_CLEAR}Waiting {math.ceil(seconds)} s {_purpose(young)}")
                step = min(seconds, 1.0)
                pause(step)
                seconds -= step
        finally:
            face.err(_CLEAR)

    return wait


def _purpose(young: Sequence[Settled]) -> str:
    calls = "an earlier call" if len(young) == 1 else f"{len(young)} earlier calls"
    names = listing(f"{item.intent.verb} of {item.intent.address}" for item in young)
    return clean(f"until it is certain what became of {calls}: {names}")
