"""A person at a terminal: the question, the answers, Ctrl-C, colour."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import COMMAND, SECRETS, environment

QUESTION = b"Enter a value: "
# Ctrl-C reaches a process only from the terminal that controls it.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def at_a_terminal(folder: Path, answer: bytes, *typed: str, **environ: str) -> tuple[int, str]:
    """Exit code and everything shown; the answer is typed when the question is there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, COMMAND, *typed],
        cwd=folder,
        env=environment(**SECRETS, **environ),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            got = os.read(ours, 65536)
        except OSError:
            break
        if not got:
            break
        shown += got
        if answer and shown.rstrip(b" ").endswith(QUESTION.rstrip(b" ")):
            os.write(ours, answer)
            answer = b""
    os.close(ours)
    return process.wait(60), shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (b"yes\n", 0, "Apply complete! Resources: 3 added"),
        (b"y\n", 1, "Apply cancelled. Nothing was sent."),
        (b"no\n", 1, "Apply cancelled. Nothing was sent."),
        (b"\x04", 1, "Apply cancelled. Nothing was sent."),
        (b"\x03", 130, "Interrupted."),
    ],
    ids=["yes", "y", "no", "end of input", "Ctrl-C"],
)
def test_only_yes_applies(project: Path, answer: bytes, code: int, said: str) -> None:
    """Anything else sends nothing; Ctrl-C at the question is 130."""
    done, shown = at_a_terminal(project, answer, "apply", "--no-color")
    assert (done, said in shown) == (code, True), shown
    assert "Only 'yes' will be accepted to approve." in shown


def test_a_terminal_has_colour(project: Path) -> None:
    """And none with NO_COLOR."""
    assert "\x1b[" in at_a_terminal(project, b"", "plan")[1]
    assert "\x1b" not in at_a_terminal(project, b"", "plan", NO_COLOR="1")[1]


def test_input_0_asks_nobody(project: Path) -> None:
    """SYNAPSE_APPLY_INPUT=0 makes a terminal as good as none."""
    done, shown = at_a_terminal(project, b"", "apply", SYNAPSE_APPLY_INPUT="0")
    assert done == 1
    assert "Approval needed: not a terminal" in shown
