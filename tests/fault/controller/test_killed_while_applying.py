"""A controller or its worker is killed, or told to end, amid an apply: the next one ends it."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from itertools import product

import pytest
from controllers.applying_site import APPROVE, ApplyingSite
from controllers.backend_proxy import Call
from controllers.site import SECONDS
from forges.loopback_server import wait_until

DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP")
# Who is killed, at which call: before or after the backend has acted on it, or soon after that,
# when the answer has arrived and is being recorded.
KILLS = (
    list(product(("worker", "controller", "both"), (1, 2, 3, 4), ("before", "after", "soon")))
    if DEEP
    else [("worker", 2, "before"), ("both", 1, "after")]
)
# Of what the controller writes and asks for; see `controllers.altered`.
POINTS = range(1, 90) if DEEP else (21,)
DRAIN_SECONDS = 6.0


def kill_at_call(site: ApplyingSite, who: str, nth: int, moment: str) -> None:
    """Kill at the nth write from now on; waits until that has happened."""
    calls: list[Call] = []
    killed = threading.Event()

    def kill(process_id: int) -> None:
        assert site.process is not None
        site.killed_workers.add(process_id)
        for number in {"worker": [process_id], "controller": [site.process.pid]}.get(
            who, [site.process.pid, process_id]
        ):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        killed.set()

    def kill_at_nth(call: Call) -> None:
        calls.append(call)
        if len(calls) == nth and moment == "soon":
            threading.Timer(0.003 * nth, kill, (call.process_id,)).start()
        elif len(calls) == nth:
            kill(call.process_id)

    hook = "before_write" if moment == "before" else "after_write"
    setattr(site.proxy, hook, kill_at_nth)
    assert killed.wait(SECONDS), f"{nth} calls\n{site.read_log()}"
    setattr(site.proxy, hook, None)


def test_killed_at_calls(applying_site):
    """Each time four rows: nothing is lost, nothing is there twice, and each commit has its end."""
    site = applying_site
    site.start()
    for number, (who, nth, moment) in enumerate(KILLS):
        site.storages += 3
        site.slow_down_writes(50)
        commit = site.commit(f"number {number}")
        kill_at_call(site, who, nth, moment)
        if who != "worker":
            site.kill()
            site.start()
        site.set_faults()
        site.wait_for_end(commit, "success", 4 * SECONDS)
        site.wait_until_live(f"number {number}")
        assert len(site.list_live_names()) == site.storages + 1
        assert [call.is_done for call in site.writes if call.method == "POST"].count(True) == (
            site.storages
        )
    site.check_laws()


@pytest.mark.parametrize("nth", POINTS)
def test_killed_at_a_point_with_approvals(applying_site, nth):
    """Amid a look, an approval, an apply or what is recorded of it: what is approved is done once."""
    site = applying_site
    site.rule, site.storages = APPROVE, 1
    site.write_configuration()
    commit = site.commit("other")
    site.start(altered={"nth": nth}, wait=False)
    try:
        approve_until_killed(site)
        assert site.process is not None
        with suppress(AssertionError):  # later points may not be reached
            wait_until(lambda: site.process.poll() is not None, 5 if DEEP else SECONDS, "killed")
    finally:
        site.kill()
    site.start()
    wait_until(
        lambda: is_one_written(site) or site.list_holds(),
        SECONDS,
        "it is held, or done",
        pause=0.2,
    )
    site.wait_quietly(1.5)
    names = [call.values["name"] for call in site.writes if call.method == "POST" and call.is_done]
    assert names in ([], ["S 0"])
    # Whose answer was lost may have approved it all the same.
    actions = {row["action"] for row in site.get("/api/v1/audit")["items"]}
    assert "approve" in actions or not names
    [hold] = [one for one in site.wait_for_holds() if one["address"] == "plugin/detection"]
    site.approve(site.list_holds())
    site.wait_for_end(commit, "success")
    done = [call for call in site.writes if call.is_done]
    assert len(done) == 2, (hold, done)
    site.check_laws()


def is_one_written(site: ApplyingSite) -> bool:
    return bool(site.writes)


def approve_until_killed(site: ApplyingSite) -> None:
    """Approve the storage as soon as it is held."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and site.process is not None and site.process.poll() is None:
        with suppress(Exception):
            for hold in site.list_holds():
                if hold["address"] == "storage/s-0":
                    site.send("approve", target="acme/dev", rows=[hold["digest"]])
                    return
        time.sleep(0.05)


def test_told_to_end_amid_an_apply(applying_site):
    """What has begun ends and is recorded, nothing new begins; the next one goes on."""
    site = applying_site
    site.start()
    site.storages = 24  # which take twice as long as a busy machine may need to hear a signal
    site.slow_down_writes(800)
    commit = site.commit("images")
    site.wait_for_writes(2)
    assert site.stop() == 0
    assert all(call.ended_at for call in site.writes)
    count = len(site.writes)
    assert count < site.storages
    recorded = [entry for entry in site.list_history() if entry.address.startswith("storage/s-")]
    assert {entry.result for entry in recorded} <= {"done", "not sent"}
    assert [entry.result for entry in recorded].count("done") == count
    site.set_faults()
    site.start()
    site.wait_for_end(commit, "success")
    assert len(site.list_live_names()) == site.storages + 1
    assert len(site.writes) == site.storages
    site.check_laws()
