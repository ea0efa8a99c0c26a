"""A log of many thousand lines, followed while it grows and while its readings are cut off."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from e2e.jobs.conftest import Place
from e2e.scenarios.workplace import TOKEN
from installed import environment
from laws.effort import DEEP

SECONDS = 10_000.0  # of the job, by a clock that this test moves
FULL = 12_000  # from so many lines on a follower remembers no more than before
PATIENCE = 300.0  # seconds, for a follower that shows nothing any more
MIB = 1024 * 1024
# A follower that reads the log every tenth of a second, however long it is.
FOLLOWER = """
import sys, time
from synapse_apply.applying.logs import FollowOptions, ListPace
from synapse_apply.applying.logs import LogListener, LogTailer
from synapse_apply.client import BackendClient

url, token, job = sys.argv[1:]
pace = ListPace(min_pause=0.1, max_pause=0.1)
options = FollowOptions(0.5, None, time.sleep, time.monotonic, list_pace=pace)
listener = LogListener(
    on_line=lambda line: print(line.message, flush=True),
    on_job=lambda job: None,
    on_note=lambda text: print(text, flush=True),
)
with BackendClient(url, token, tenant="acme") as client:
    print(LogTailer(client, job, options, listener).follow_log().status.value)
"""


def peak_memory(process: subprocess.Popen[str]) -> int:
    """The most memory a process ever had, in bytes."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("/proc does not tell a peak: this test needs Linux")


def cuts(sizes: list[int]) -> dict[str, Any]:
    """Every second reading of the log breaks off after so many bytes."""
    path = "/jobs/*/console_logs/"
    return {
        "rules": [
            {"match": {"path": path, "nth": 2 * number}, "do": {"truncate": size}}
            for number, size in enumerate(sizes, 1)
        ]
    }


@contextmanager
def ended_in_time(process: subprocess.Popen[str]) -> Iterator[None]:
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        process.kill()


def test_each_line_once_in_order_and_in_constant_memory(serve: Callable[..., Place]) -> None:
    """A tenth of the lines is written at a time, once those before them were read."""
    lines = 100_000 if DEEP else 40_000
    step = lines // 10
    place = serve(cuts([lines * number for number in range(1, 6)]))
    place.plugin()
    job = place.job(seconds=SECONDS, log_lines=lines)
    written, found, peaks = 0, 0, []
    place.move_clock(SECONDS * step / lines)
    with subprocess.Popen(
        [sys.executable, "-c", FOLLOWER, place.server.url, TOKEN, job],
        env=environment({}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process, ended_in_time(process):  # fmt: skip
        assert process.stdout is not None
        while written < lines:
            written += step
            place.move_clock(SECONDS * written / lines)
            while found < written:
                found += 1
                assert process.stdout.readline() == f"step {found} of {lines}\n"
            if found >= FULL and process.poll() is None:
                peaks.append(peak_memory(process))
        assert process.stdout.read() == "completed\n"
        assert process.wait(60) == 0
    done = place.embedded.backend.fault_schedule.as_dict()["counts"]
    assert [rule["done"] for rule in done] == [1] * 5
    assert peaks[-1] - peaks[0] < 4 * MIB


@pytest.mark.parametrize("step", [1, 700])
def test_the_command_shows_each_line_once_and_in_order(
    serve: Callable[..., Place], step: int
) -> None:
    """At the pace that it has; `step` lines are written at a time, and one reading is cut off."""
    place = serve(cuts([5_000]))
    place.plugin()
    lines = 3 * step
    job = place.job(seconds=SECONDS, log_lines=lines)
    found = 0
    with place.start(
        "jobs", "logs", job, "--follow", "--interval", "1", stderr=subprocess.STDOUT
    ) as process, ended_in_time(process):  # fmt: skip
        assert process.stdout is not None
        for written in range(step, lines + 1, step):
            place.move_clock(SECONDS * written / lines)
            while found < written:
                found += 1
                assert process.stdout.readline().endswith(f" info: step {found} of {lines}\n")
        assert process.stdout.read() == ""
        assert process.wait(60) == 0
