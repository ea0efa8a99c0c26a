"""The installed command and a backend as processes of their own, to be killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fault.site import TENANT, TOKEN, Server, Site
from forking import ForkedProcess
from installed import BIN, environment

TESTS = Path(__file__).resolve().parents[1]
COMMAND = [str(BIN / "synapse-apply")]
APPLY = ["apply", "--auto-approve", "--target", "site"]
SECONDS = 60
# Longer than all tests together: what hangs before its commit is committed when that time is over.
FOREVER = 1_000_000
# Of those who shall be replaced soon; a busy disk must not make them silent for so long.
LEASE = 6.0
WAITS = ("--lock-timeout", "600")


def replacing(site: Site) -> dict[str, Any]:
    """Who replaces them after a LEASE, however slow the machine is while it works itself.

    Its own lease is longer, and its clock so much faster; in a bucket and in Git the lease that the
    holder has announced is what is waited for, by a clock as fast as the holder's.
    """
    is_announced = site.environ.get("FAULT_STATE_URL", "").startswith(("s3:", "git:"))
    return {"lease": 10 * LEASE, "hurry": 1.0 if is_announced else 10.0}


@contextmanager
def applying(
    site: Site,
    *more: str,
    parallelism: int = 1,
    by: Sequence[str] = (),
    as_json: bool = True,
    by_fork: bool = True,
    **altered: Any,
) -> Iterator[subprocess.Popen[str]]:
    """An apply under way; killed at the end if it has not ended by itself.

    `altered` is what is not as it is here: see fault/altered.py. `by` is a command that runs it.
    It is forked (forking.py), or with `by` or without `by_fork` a new process.
    """
    command = [sys.executable, "-m", "fault.altered", json.dumps(altered)] if altered else COMMAND
    chosen = [*(["--json"] if as_json else []), *(["--prune"] if site.prunes else [])]
    start = ForkedProcess if by_fork and not by else subprocess.Popen
    process = start(
        [*by, *command, *APPLY, *chosen, "--parallelism", str(parallelism), *more],
        cwd=site.root,
        env={**environment(site.environ), **({"PYTHONPATH": str(TESTS)} if altered else {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def reaches(server: Server, process: subprocess.Popen[str]) -> None:
    """Wait until the first rule's deed has begun, while the process runs."""
    until = time.monotonic() + SECONDS
    while not server.counts()[0]["done"]:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code and what was written; no traceback among it."""
    out, err = process.communicate(timeout=SECONDS)
    assert "Traceback" not in err, err
    assert "internal error" not in out + err, out + err
    return process.returncode, out, err


def kill(process: subprocess.Popen[str]) -> bool:
    """SIGKILL; whether it was still running."""
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def kill_amid(
    site: Site, match: Mapping[str, Any], *more: str, commit: str = "", **named: Any
) -> None:
    """Kill an apply in a call that is not answered; `commit` is when the server acts on it."""
    deed = {"hang": FOREVER, **({"commit": commit} if commit else {})}
    site.server.faults({"match": match, "do": deed})
    with applying(site, *more, **named) as process:
        reaches(site.server, process)
        assert kill(process)
    site.server.faults()


class Backend:
    """`emulator` as a process on one data set and one port, which may be killed and begun.

    It is a fork (forking.py), which begins ten times as fast as a real one.
    """

    def __init__(self, data: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._data = data
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Server:
        self._process = ForkedProcess(
            [sys.executable, "-m", "synapse_apply.emulator", "serve", "--data", str(self._data),
             "--port", str(self.port), "--token", TOKEN, "--tenant", TENANT],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=dict(os.environ),
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("listening on "), line
        return Server(line.split()[-1])

    def kill(self) -> None:
        if self._process is not None:
            kill(self._process)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None
