"""What of the laws of applies takes long: run with SYNAPSE_APPLY_TEST_DEEP=1 alone."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
from controllers.applying_site import (
    APPROVE,
    MOST_PERMIT_SECONDS,
    PERMIT_SECONDS_IN_PRACTICE,
    ApplyingSite,
)
from controllers.many_creates import (
    CREATES,
    MILLISECONDS,
    begin_many_creates,
    check_the_rest_is_done,
)
from controllers.site import SECONDS
from forges.loopback_server import wait_until
from stopping import AS_A_PERSON

DRAIN_SECONDS = 6.0
A_DAY = 86400


def test_a_backend_that_refuses_writes_for_a_while(applying_site):
    """The commit is red, and green once it is done; both are told once, and nothing is made twice."""
    site = applying_site
    site.start()
    site.storages = 2
    site.set_faults(
        {"match": {"method": "POST"}, "do": {"status": 400}},
        {"match": {"method": "PUT"}, "do": {"reset": "after"}},
    )
    commit = site.commit("other")
    site.wait_for_end(commit, "failure")
    site.wait_for_message("failed")
    site.wait_quietly(4)
    attempts = len([call for call in site.writes if call.method == "POST"])
    assert 2 <= attempts <= 12
    site.set_faults()
    site.wait_for_end(commit, "success")
    site.wait_for_message("recovered")
    assert [message["event"] for message in site.sink.messages] == ["failed", "recovered"]
    assert site.live_description == "other"
    site.check_laws()


def test_an_approval_of_something_else_or_long_ago(applying_site, tmp_path):
    """The live object moved, Git moved, seven days went by, somebody said no: it waits again."""
    site, clock = applying_site, tmp_path / "clock"
    clock.write_text("0")
    site.rule = APPROVE
    site.write_configuration()
    site.start(altered={"clock": str(clock)})
    site.commit("other")
    holds = site.wait_for_holds()
    site.act("pause", scope="acme/dev", reason="so that all comes first", seconds=30 * A_DAY)

    def wait_for_another_row(before: list[dict[str, str]]) -> list[dict[str, str]]:
        wait_until(
            lambda: [one["digest"] for one in site.list_holds()] not in ([], [before[0]["digest"]]),
            20,
            f"another row\n{site.read_log()}",
        )
        return site.list_holds()

    site.approve(holds)
    site.change_by_hand("by hand")
    moved = wait_for_another_row(holds)
    site.approve(moved)
    commit = site.commit("something else")
    changed = wait_for_another_row(moved)
    site.approve(changed)
    site.act("reject", target="acme/dev", rows=[changed[0]["digest"]], reason="not now")
    site.act("resume", scope="acme/dev")
    site.wait_quietly(2.5)
    assert site.writes == []
    site.act("pause", scope="acme/dev", reason="so that all comes first", seconds=30 * A_DAY)
    site.approve(site.wait_for_holds())
    clock.write_text(str(8 * A_DAY))
    wait_until(lambda: "clock jumped" in site.read_log(), 20, "the clock jumped")
    site.act("resume", scope="acme/dev")
    site.wait_quietly(2.5)
    assert site.writes == []
    site.approve(site.wait_for_holds())
    site.wait_for_end(commit, "success")
    site.wait_until_written("something else")
    site.check_laws()


@pytest.mark.parametrize("signals", [1, 2])
def test_told_to_end_amid_calls_that_hang(applying_site, signals):
    """They are not waited for for ever, and not at all at a second signal; they are looked up."""
    site = applying_site
    site.start()
    site.storages = 3
    site.set_faults({"match": {"method": "POST"}, "do": {"hang": 30, "commit": "after"}})
    commit = site.commit("images")
    site.killed_workers.add(site.wait_for_writes(3)[-1].process_id)
    told_at = time.monotonic()
    if signals == 2:
        assert site.process is not None
        site.process.send_signal(signal.SIGTERM)
        time.sleep(AS_A_PERSON)
    site.stop()
    assert time.monotonic() - told_at < (2 if signals == 2 else DRAIN_SECONDS + 2)
    site.set_faults()
    site.start()
    site.wait_for_end(commit, "success")
    assert len(site.list_live_names()) == site.storages + 1
    assert site.sink.messages == []
    site.check_laws()


def test_a_store_that_is_full_amid_an_apply(applying_site):
    """The apply is recorded in the target's state; with room again nothing is done once more."""
    site = applying_site
    site.start()
    site.storages = 8
    site.slow_down_writes(500)
    commit = site.commit("other")
    site.wait_for_writes(2)
    assert site.process is not None
    resource.prlimit(site.process.pid, resource.RLIMIT_FSIZE, (0, 0))
    assert site.process.wait(SECONDS) != 0
    site.kill()
    site.set_faults()
    site.start()
    site.wait_for_end(commit, "success")
    assert len(site.list_live_names()) == site.storages + 1
    assert len([call for call in site.writes if call.is_done]) == site.storages + 1
    site.check_laws()


def test_a_worker_that_is_stopped_past_its_permit(applying_site):
    """It is paused meanwhile, and begins nothing when it goes on."""
    site = applying_site
    site.start()
    commit = begin_many_creates(site)
    worker = site.writes[-1].process_id
    os.kill(worker, signal.SIGSTOP)
    site.act("pause", scope="acme/dev", reason="a look first")
    time.sleep(MOST_PERMIT_SECONDS)
    count = len(site.writes)
    os.kill(worker, signal.SIGCONT)
    site.wait_for_state("paused")
    time.sleep(1)
    assert len(site.writes) == count
    site.act("resume", scope="acme/dev")
    check_the_rest_is_done(site, commit)


def test_a_clock_that_jumps_in_the_middle(applying_site, tmp_path):
    """A day forwards and back: the apply goes on, and nothing is done twice."""
    site, clock = applying_site, tmp_path / "clock"
    clock.write_text("0")
    site.start(altered={"clock": str(clock)})
    commit = begin_many_creates(site)
    for offset in (A_DAY, -A_DAY, 0):
        count = len(site.writes)
        clock.write_text(str(offset))
        site.wait_for_writes(count + 4)
        time.sleep(1)
    assert len({call.process_id for call in site.writes}) == 1
    check_the_rest_is_done(site, commit)


def test_an_approval_of_a_row_that_the_head_has_no_more(applying_site):
    """It was shown for the commit before; an approval of it after the push does nothing."""
    site = applying_site
    site.rule = APPROVE
    site.write_configuration()
    site.start()
    old = site.commit("old")
    holds = site.wait_for_holds()
    site.set_faults({"match": {"method": "GET"}, "do": {"latency": 1500}})
    new = site.commit("new")
    site.wait_for_status(new)
    site.send("approve", target="acme/dev", rows=[holds[0]["digest"]])
    site.wait_quietly(1)
    site.set_faults()
    site.wait_quietly(3)
    assert site.list_descriptions() == []
    [hold] = site.list_holds()
    assert hold["commit"] == new != old
    site.approve([hold])
    site.wait_for_end(new, "success")
    assert site.list_descriptions() == ["new"]
    site.check_laws()


def test_an_approval_is_used_once_whatever_the_store_remembers(applying_site):
    """A store of before the apply is restored, and the same row is there again."""
    site = applying_site
    site.rule = APPROVE
    site.write_configuration()
    site.start()
    commit = site.commit("other")
    holds = site.wait_for_holds()
    site.act("pause", scope="acme/dev", reason="to copy the store")
    site.approve(holds)
    assert site.stop() == 0
    backup = shutil.copytree(site.data, site.folder / "backup")
    site.start()
    site.act("resume", scope="acme/dev")
    site.wait_for_end(commit, "success")
    site.wait_until_written("other")
    assert site.stop() == 0
    site.change_by_hand("images")
    restore_store(site, backup)
    site.start()
    site.act("resume", scope="acme/dev")
    wait_until(
        lambda: is_approval_used(site), SECONDS, "the approval is known to be used", pause=0.2
    )
    assert site.list_written() == ["other"]
    site.approve(site.wait_for_holds())
    site.wait_until_written("other", "other")
    site.wait_for_end(commit, "success")
    site.check_laws()


def is_approval_used(site: ApplyingSite) -> bool:
    """Whether the row waits, and the page says that its approval was already used."""
    return [approval["counts"] for hold in site.list_holds() for approval in hold["approvals"]] == [
        False
    ]


def restore_store(site: ApplyingSite, backup: Path) -> None:
    for file in site.data.glob("*.db*"):
        file.unlink()
    for file in backup.glob("*.db*"):
        shutil.copy2(file, site.data / file.name)


def test_a_controller_that_is_stopped_or_killed(applying_site):
    """Its worker begins nothing once the permit has ended; who comes after does the rest."""
    site = applying_site
    site.start()
    commit = begin_many_creates(site)
    assert site.process is not None
    site.process.send_signal(signal.SIGSTOP)
    stopped_at = time.monotonic()
    site.slow_down_writes(2500)
    last = site.wait_until_no_write_begins(4)
    assert last - stopped_at < MOST_PERMIT_SECONDS
    count = len(site.writes)
    assert count < CREATES
    site.process.send_signal(signal.SIGCONT)
    site.slow_down_writes(MILLISECONDS)
    site.wait_for_writes(count + 2)
    site.process.kill()
    killed_at = time.monotonic()
    last = site.wait_until_no_write_begins(3)
    assert last - killed_at < PERMIT_SECONDS_IN_PRACTICE
    assert len(site.writes) < CREATES
    site.kill()
    site.start()
    check_the_rest_is_done(site, commit)
