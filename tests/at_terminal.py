"""Runs the installed command at a terminal of its own, as a person does."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from installed import BIN

QUESTION = b"Enter a value: "
# Ctrl-C reaches a process only from the terminal that controls it.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def run_at_terminal(
    folder: Path, answer: bytes, environ: Mapping[str, str], *typed: str
) -> tuple[int, str]:
    """Exit code and everything shown; the answer is typed when the question is there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, str(BIN / "synapse-apply"), *typed],
        cwd=folder,
        env=environ,
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
