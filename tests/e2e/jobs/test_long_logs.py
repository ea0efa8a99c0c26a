"""A log of a hundred thousand lines, followed over a connection that is cut ten times."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e.jobs.conftest import Place

SECONDS = 10_000.0  # of the job, by a clock that this test moves
FULL = 12_000  # from so many lines on a follower remembers no more than before
PATIENCE = 300.0  # seconds, for a follower that shows nothing any more
MIB = 1024 * 1024


def peak_memory(process: subprocess.Popen[str]) -> int:
    """The most memory a process ever had, in bytes."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("/proc does not tell a peak: this test needs Linux")


def cuts(sizes: list[int]) -> dict[str, Any]:
    path = "/jobs/*/tail_console_logs/"
    return {
        "rules": [
            {"match": {"path": path, "nth": number}, "do": {"truncate": size}}
            for number, size in enumerate(sizes, 1)
        ]
    }


@pytest.mark.parametrize(
    ("begins", "lines", "step", "sizes"),
    [
        ("now", 100_000, 2000, [500_000] * 10),
        ("start", 20_000, 250, [150_000 * number for number in range(1, 11)]),
    ],
)
def test_each_line_once_in_order_and_in_constant_memory(
    serve: Callable[..., Place], begins: str, lines: int, step: int, sizes: list[int]
) -> None:
    """Whether a tail begins anew with the first line, or with what is written from then on.

    `step` lines are written at a time, once those before them were read; a connection of the tail
    is cut after so many bytes.
    """
    place = serve(cuts(sizes), tail=begins)
    place.plugin()
    job = place.job(seconds=SECONDS, log_lines=lines)
    written, found, peaks = 0, 0, []
    with place.start(
        "jobs", "logs", job, "--follow", "--interval", "1", stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            while written < lines + step:
                written += step
                place.clock.ahead = SECONDS * written / lines
                while found < min(written, lines):
                    found += 1
                    line = process.stdout.readline()
                    assert line.endswith(f" info: step {found} of {lines}\n"), (found, line)
                if found >= FULL and process.poll() is None:
                    peaks.append(peak_memory(process))
            assert process.stdout.read() == ""
            assert process.wait(30) == 0
        finally:
            watchdog.cancel()
            process.kill()
    done = place.embedded.backend.fault_schedule.as_dict()["counts"]
    assert [rule["done"] for rule in done] == [1] * 10
    assert peaks[-1] - peaks[0] < 4 * MIB
