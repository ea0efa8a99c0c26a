"""One run of a command: its wall and processor seconds and its memory, as the system counts."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

OURS = "synapse-apply"


@dataclass(frozen=True, slots=True)
class Run:
    """`wall` and `cpu` (user and system) in seconds, `memory` (peak resident) in MB."""

    wall: float
    cpu: float
    memory: float
    requests: dict[str, int] = field(default_factory=dict)


def run(command: Sequence[str], folder: Path, environ: dict[str, str]) -> Run:
    """Run a command to its end; RuntimeError with what it printed when it fails."""
    with TemporaryFile() as printed:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            printed.seek(0)
            said = printed.read()[-2000:].decode("utf-8", "replace")
            raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}\n{said}")
    # Linux tells kilobytes.
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def median(values: Iterable[float]) -> float:
    return statistics.median(values)
