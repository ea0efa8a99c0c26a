"""The question before an apply."""

from __future__ import annotations

import os
import select
import signal
import sys
from dataclasses import replace

from synapse_apply.cli.face import Face
from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError
from synapse_apply.model.plan import Plan

# A plan that a reader left on the screen for longer is made anew before it is applied.
FRESH_SECONDS = 60.0


def need_approval(
    face: Face, *, given: bool, verb: str = "apply", flag: str = "--auto-approve"
) -> None:
    """InputError where nobody could be asked and the flag was not given; before anything else."""
    if given or face.on_terminal:
        return
    review = "Review with `synapse-apply plan`, then add" if verb == "apply" else "If meant, add"
    if face.in_events:
        summary = f"--json-lines needs {flag}"
        detail = "With --json-lines nothing but JSON is printed, and nothing is asked."
    elif face.as_json:
        summary = f"--json needs {flag}"
        detail = "With --json one document is printed and nothing is asked."
    else:
        summary = "There is nobody to ask"
        detail = f"This is no terminal, and `{verb}` does nothing that nobody approved."
    raise InputError(error(summary, detail, f"{review} {flag}."))


def ask(face: Face, question: str, detail: str) -> bool:
    """Whether `yes` was the answer; the end of input is a no."""
    face.out(
        f"\n{question}\n  {detail}\n  Only 'yes' will be accepted to approve.\n\n  Enter a value: "
    )
    answer = typed_line()
    face.out("\n" if answer.endswith("\n") else "\n\n")
    return answer.strip() == "yes"


def typed_line() -> str:
    """The next line of stdin, empty at its end; a signal's handler may end the wait.

    `input` would miss a Ctrl-C in the moment between the question and the read: the signal is
    noted, and its handler runs when the read is over, which is then after a line that nobody
    types. Through the wakeup descriptor a signal is something to read.
    """
    stdin = sys.stdin.fileno()
    listen, wake = os.pipe()
    try:
        os.set_blocking(wake, False)
        before = signal.set_wakeup_fd(wake)
        try:
            ready: list[int] = []
            while stdin not in ready:
                ready, _, _ = select.select([stdin, listen], [], [])
                if listen in ready:  # a handler that did not raise: the question stands
                    os.read(listen, 64)
        finally:
            signal.set_wakeup_fd(before)
    finally:
        for end in (listen, wake):
            os.close(end)
    return sys.stdin.readline()


def same(one: Plan, other: Plan) -> bool:
    """Whether two plans say the same: what was approved is what will be done."""
    return replace(other, id=one.id, created=one.created, base=one.base) == one
