"""Waves as the backend sees them: none closes on what a target has not shown of its own commit."""

from __future__ import annotations

import threading
import time

import pytest
from controllers.backend_proxy import Call
from controllers.rollout_laws import WaveLedger
from controllers.rollout_site import RolloutSite

WAVES = (("canary-1", "canary-2"), ("eu-1", "eu-2", "eu-3"), ("prod-1",))
SOAK = 1.0
SLOW_LOOKS = {"match": {"method": "GET"}, "do": {"latency": 900}}


@pytest.fixture
def ledger() -> WaveLedger:
    return WaveLedger(WAVES, (SOAK, 0.0, 0.0), approved_waves=(3,))


def slow_down_looks_after_write(site: RolloutSite, text: str) -> threading.Event:
    """Have looks take long as soon as a text was written; set when that has happened."""
    written = threading.Event()

    def slow_down(call: Call) -> None:
        if call.values.get("description") == text and not written.is_set():
            site.set_faults(SLOW_LOOKS)
            written.set()

    site.proxy.after_write = slow_down
    return written


def approve_last_wave(site: RolloutSite, ledger: WaveLedger, commit: str) -> None:
    """Let the last wave begin when it waits for that, and wait for the end."""
    rollout = site.wait_for_rollout(commit, "waiting for approval")
    ledger.approvals.append((time.monotonic(), commit, 3))
    answer = site.send_action("approve", rollout["number"], wave=3)
    assert answer.status_code == 200, answer.text
    site.wait_for_rollout(commit, "done")


def test_no_wave_closes_on_what_an_older_commit_has_shown(
    rollout_site: RolloutSite, ledger: WaveLedger
) -> None:
    """Commits in mid-wave, looks that end late, targets that join, and a way back."""
    site = rollout_site
    site.start()
    first = site.run_git("rev-parse", "HEAD")
    site.wait_for_rollout(first, "waiting for approval")
    assert site.list_live_texts() == dict.fromkeys(("canary-1", "eu-1", "eu-2"), "first")
    site.wait_for_pending(first, "wave 3 of 3 waits for approval")
    assert [one["rollout"]["wave"] for one in site.list_messages("held")] == [3]
    approve_last_wave(site, ledger, first)

    # The look after the canary's apply ends when the next commit is the head already.
    is_written = slow_down_looks_after_write(site, "one")
    site.push_to_all("one")
    assert is_written.wait(60)
    second = site.push_to_all("two")
    site.wait_for_rollout(second, "running")
    site.set_faults()
    site.wait_for_rollout(second, "waiting for approval")
    assert site.list_written_texts("canary-1") == ["first", "one", "two"]
    assert site.list_written_texts("eu-1") == ["first", "two"]

    # Nothing is to be changed but one target of the second wave; a commit later, a canary joins and
    # cannot be made: what is behind it waits, until a third commit mends it.
    site.push(eu_1="three")
    site.wait_until_all_live({"eu-1": "three"})
    assert len(site.list_written_texts("canary-1")) == 3
    site.add_target("canary-2", "canary")
    broken = site.push(canary_2="\t", eu_1="four", eu_2="four")
    site.wait_for_rollout(broken, "stopped")
    site.wait_for_end(broken, "failure")
    assert site.list_written_texts("eu-2") == ["first", "two"]
    site.push(canary_2="four")
    site.wait_until_all_live({"canary-2": "four", "eu-1": "four", "eu-2": "four"})

    # Back: what had something else in between has to show anew.
    last = site.push_to_all("first")
    approve_last_wave(site, ledger, last)
    site.wait_for_end(last, "success")
    site.wait_until_all_live("first")
    assert site.list_written_texts("prod-1") == ["first"]
    ledger.check(site)
    events = [
        (event, one["rollout"]["state"])
        for event in ("failed", "recovered")
        for one in site.list_messages(event)
        if one["rollout"]
    ]
    assert events == [("failed", "stopped"), ("recovered", "running")]
    site.check_laws()
