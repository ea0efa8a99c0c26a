"""Runs the command at a terminal of its own, as a person does."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from forking import ForkedProcess
from installed import BIN

QUESTION = b"Enter a value: "
# Ctrl-C reaches a process only from the terminal that controls it.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
# What a new process finds out of its streams when it begins.
_TAKE_TERMINAL_IN_FORK = (
    "import fcntl, runpy, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "sys.stdout.reconfigure(line_buffering=True); del sys.argv[0];"
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def run_at_terminal(
    folder: Path,
    answer: bytes,
    environ: Mapping[str, str],
    *typed: str,
    process_type: type[subprocess.Popen[str]] = ForkedProcess,
) -> tuple[int, str]:
    """Exit code and everything shown; the answer is typed when the question is there.

    With `process_type=Popen` it is the installed command, else a fork (forking.py).
    """
    is_fork = issubclass(process_type, ForkedProcess)
    ours, theirs = pty.openpty()
    process = process_type(
        [
            sys.executable,
            "-c",
            _TAKE_TERMINAL_IN_FORK if is_fork else _TAKE_TERMINAL,
            str(BIN / "synapse-apply"),
            *typed,
        ],
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
