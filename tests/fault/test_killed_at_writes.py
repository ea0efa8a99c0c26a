"""SIGKILL before and after every write of the state, and at any time; then one more apply."""

from __future__ import annotations

import signal
import time
from collections import Counter

import pytest
from fault.commands import applying, ended, kill, reaches
from fault.convergence import DEEP, Row, converge, few_on, on_api, on_store_and_api, some
from fault.site import MakeSite, Server

GROUPS = 10 if DEEP else 4  # of a plugin, its release and a storage each
# A call is announced and settled, each once.
WRITES = 2 * 3 * GROUPS


@on_store_and_api()
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_a_write(moment: str, profile: str, make_shared_site: MakeSite, row: Row) -> None:
    """The write is not begun, or it is on disk and nothing has followed it."""
    for nth in some(WRITES, few_on(profile, 3), turn=9 if moment == "before" else 14):
        site = make_shared_site(groups=GROUPS)
        with applying(site, signal=signal.SIGKILL, nth=nth, moment=moment) as process:
            assert process.wait(60) == -signal.SIGKILL, nth
        converge(site, None, row)


@on_api("v1", "v2")
def test_no_write_is_left_out(make_site: MakeSite) -> None:
    """The boundaries above are all there are."""
    with applying(make_site(groups=GROUPS), counted=True) as process:
        code, _, err = ended(process)
    assert (code, Counter(err.split())) == (
        0,
        {
            "open_intent_and_use_up_its_approvals": WRITES // 2,
            "close_ended_intent": WRITES // 2,
        },
    )


@on_api("v1")
def test_killed_at_any_time(make_site: MakeSite, server: Server, row: Row) -> None:
    """Evenly spread over an apply, from its first request to its end."""
    for part in range(40 if DEEP else 2):
        site = make_site()
        server.faults({"match": {"nth": 1}, "do": {"latency": 1}})
        with applying(site, parallelism=1 + part % 4) as process:
            reaches(server, process)
            time.sleep(part * (0.006 if DEEP else 0.05))
            kill(process)
        converge(site, None, row)
