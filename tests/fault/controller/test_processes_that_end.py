"""Killed at any point, stopped and continued, or started twice: it ends where it would have."""

from __future__ import annotations

import os
import signal
import sqlite3

import pytest
from controllers.site import SECONDS, Site
from forges.loopback_server import wait_until

DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP")
# A few of all the points, which are the same from run to run up to the order of threads.
POINTS = range(1, 70) if DEEP else (13,)


@pytest.mark.parametrize("nth", POINTS)
def test_killed_at_a_point(site, nth):
    """And started again: each commit has its end, each fact its message, and nothing was written."""
    site.forget_requests()
    site.start(altered={"nth": nth}, wait=False)
    broken = site.commit("\t")
    assert site.process is not None
    try:
        wait_until(lambda: site.process.poll() is not None, 12 if DEEP else SECONDS, "killed")
    except AssertionError:
        assert DEEP  # later points may not be reached
    site.kill()
    site.start()
    site.wait_for_end(broken, "failure")
    site.wait_for_message("failed")
    mended = site.commit("images")
    site.wait_for_end(mended, "success")
    site.wait_for_message("recovered")
    site.check_laws()
    assert {message["event"] for message in site.sink.messages} == {"failed", "recovered"}
    assert len({message["id"] for message in site.sink.messages}) == 2


def test_one_process_that_is_disturbed(site):
    """Stopped and continued, joined by a second one, and kept from its store: it goes on."""
    first = site.run_git("rev-parse", "HEAD")
    site.start()
    site.wait_for_end(first, "success")
    check_stopped_and_continued(site)
    check_second_controller_on_one_data_folder(site)
    check_store_that_is_locked_for_a_while(site)
    site.check_laws()


def check_stopped_and_continued(site: Site) -> None:
    """What came meanwhile is done afterwards, and nothing twice."""
    assert site.process is not None
    os.killpg(site.process.pid, signal.SIGSTOP)
    passed_by, head = site.commit("other"), site.commit("images")
    os.killpg(site.process.pid, signal.SIGCONT)
    site.wait_for_end(head, "success")
    assert site.list_statuses(passed_by) == []
    assert site.sink.messages == []


def test_a_clock_that_jumps(site, tmp_path):
    """A day forwards and back: nothing is told twice, and a look follows within the interval."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    first = site.run_git("rev-parse", "HEAD")
    site.start(altered={"clock": str(clock)})
    site.wait_for_end(first, "success")
    for offset in ("86400", "0", "-86400"):
        clock.write_text(offset)
        commit = site.commit(f"at {offset}")
        site.wait_for_end(commit, "success")
        site.forget_requests()
        wait_until(site.list_requests, SECONDS, "the target is looked at again")
    site.check_laws()


def check_second_controller_on_one_data_folder(site: Site) -> None:
    """It says who is there, and ends; the first one goes on."""
    running, site.process = site.process, None
    site.start(wait=False)
    assert site.process is not None
    assert site.process.wait(SECONDS) not in {0, None}
    site.process = running
    second = site.commit("other")
    site.wait_for_end(second, "success")


def check_store_that_is_locked_for_a_while(site: Site) -> None:
    """By a backup, or a person with sqlite3: what was to be written is written afterwards."""
    [file] = [path for path in site.data.glob("*.db") if path.is_file()]
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    second = site.commit("locked out")
    site.wait_quietly(1.5)
    connection.execute("ROLLBACK")
    connection.close()
    site.wait_for_end(second, "success")
