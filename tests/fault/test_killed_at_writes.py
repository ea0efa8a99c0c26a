"""SIGKILL before and after every write of the state, and at any time; then one more apply."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fault.commands import applying, kill, reaches
from fault.convergence import DEEP, Row, converge, some
from fault.site import Server, Site
from installed import environment

TESTS = Path(__file__).resolve().parents[1]
# Intents begun and settled by an apply of twelve resources.
WRITES = 24


def dying(site: Site, nth: int, moment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fault.dying", str(site.root), str(nth), moment],
        env={**environment(site.environ), "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_a_write(moment: str, make_site: Callable[..., Site], row: Row) -> None:
    """The write is not begun, or it is on disk and nothing has followed it."""
    for nth in some(WRITES, 3, turn=3 if moment == "before" else 4):
        site = make_site()
        assert dying(site, nth, moment).returncode == -9, nth
        converge(site, None, row)


def test_no_write_is_left_out(make_site: Callable[..., Site]) -> None:
    """The boundaries above are all there are."""
    if DEEP:
        assert dying(make_site(), 0, "").stdout.split() == [str(WRITES), "0"]


def test_killed_at_any_time(make_site: Callable[..., Site], server: Server, row: Row) -> None:
    """Evenly spread over an apply, from its first request to its end."""
    for part in range(40 if DEEP else 2):
        site = make_site()
        server.faults({"match": {"nth": 1}, "do": {"latency": 1}})
        with applying(site, parallelism=1 + part % 4) as process:
            reaches(server, process)
            time.sleep(part * (0.006 if DEEP else 0.05))
            kill(process)
        converge(site, None, row)
