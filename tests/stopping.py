"""Stops a process as users and machines do: Ctrl-Z at a moment that is fair, Ctrl-C twice."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from forges.loopback_server import wait_until

SECONDS = 60
# Two signals within a tenth of a second are one: a second one is as late as a person's.
AS_A_PERSON = 0.3


def asked_again(process: subprocess.Popen[Any], number: int) -> None:
    """The same signal once more, as somebody sends it who saw what the first one did."""
    time.sleep(AS_A_PERSON)
    process.send_signal(number)


def suspend(process: subprocess.Popen[Any], file: Path | None = None) -> None:
    """SIGSTOP, but not in the middle of a write to a SQLite file: that keeps everybody out."""
    while True:
        process.send_signal(signal.SIGSTOP)
        stands_still(process)
        if file is None or _is_free(file):
            return
        process.send_signal(signal.SIGCONT)
        time.sleep(0.02)


def stands_still(process: subprocess.Popen[Any]) -> None:
    """Wait until SIGSTOP has reached it."""
    until = time.monotonic() + SECONDS
    while _read_state(process) != "T":
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)


def meets_fault(server: Any, process: subprocess.Popen[Any] | None = None) -> None:
    """Wait until the deed of the backend's first rule has begun, while the process runs."""

    def has_begun() -> bool:
        assert process is None or process.poll() is None, process.communicate()
        return bool(server.call("GET", "_emulator/faults/")["counts"][0]["done"])

    wait_until(has_begun, SECONDS, "the first fault begins")


def has_ended(process: subprocess.Popen[Any]) -> None:
    """Wait until SIGKILL has reached it; its parent, who is we, has not asked for its end yet."""
    until = time.monotonic() + SECONDS
    while _read_state(process) != "Z":
        assert time.monotonic() < until
        time.sleep(0.005)


def _read_state(process: subprocess.Popen[Any]) -> str:
    """One letter: proc_pid_stat(5), field 3."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def _is_free(file: Path) -> bool:
    with closing(sqlite3.connect(file, timeout=0)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
    return True
