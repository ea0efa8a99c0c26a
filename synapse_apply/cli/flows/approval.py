"""When approval is required, and how the question is asked and answered."""

from __future__ import annotations

import os
import select
import signal
import sys

from synapse_apply.cli.console import Console
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import InputError


def require_approval_way(
    console: Console, *, is_approved: bool, verb: str = "apply", flag: str = "--auto-approve"
) -> None:
    """InputError where nobody can be asked and the flag is missing; called before anything else."""
    if is_approved or console.is_interactive:
        return
    review = Text("If meant, add")
    if verb == "apply":
        review = Text("Review with ", Command("plan"), ", then add")
    if console.as_events:
        summary = f"--json-lines needs {flag}"
        detail = "With --json-lines nothing but JSON is printed, and nothing is asked."
    elif console.as_json:
        summary = f"--json needs {flag}"
        detail = "With --json one document is printed and nothing is asked."
    else:
        summary = "Approval needed: not a terminal"
        detail = f"`{verb}` does nothing that nobody approved, and there is no terminal to ask on."
    raise InputError.from_summary(summary, detail, Text(review, f" {flag}."))


def ask_approval(console: Console, question: str, detail: str) -> bool:
    """Ask; True if the answer is `yes`. The end of input counts as no."""
    console.write_output(
        f"\n{question}\n  {detail}\n  Only 'yes' will be accepted to approve.\n\n  Enter a value: "
    )
    answer = read_answer_line()
    console.write_output("\n" if answer.endswith("\n") else "\n\n")
    return answer.strip() == "yes"


def read_answer_line() -> str:
    """The next line of stdin, "" at its end; a signal's handler may end the wait by raising.

    `input` would miss a Ctrl-C between the question and the read: the signal is only noted, and
    its handler runs after the read, that is after a line that may never come. With the wakeup
    descriptor a signal makes `select` return.
    """
    stdin = sys.stdin.fileno()
    wakeup_reader, wakeup_writer = os.pipe()
    try:
        # `signal.set_wakeup_fd` requires a non-blocking descriptor.
        os.set_blocking(wakeup_writer, False)
        old_wakeup_fd = signal.set_wakeup_fd(wakeup_writer)
        try:
            ready: list[int] = []
            while stdin not in ready:
                ready, _, _ = select.select([stdin, wakeup_reader], [], [])
                if wakeup_reader in ready:  # a handler that did not raise: the question stands
                    os.read(wakeup_reader, 64)
        finally:
            signal.set_wakeup_fd(old_wakeup_fd)
    finally:
        for descriptor in (wakeup_reader, wakeup_writer):
            os.close(descriptor)
    return sys.stdin.readline()
