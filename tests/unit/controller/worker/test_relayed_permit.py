"""When a worker may begin a call, by what it heard last."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from synapse_apply.controller.ports import Permit
from synapse_apply.controller.worker import incoming
from synapse_apply.controller.worker.incoming import RelayedPermit


def test_a_permit_counts_until_its_deadline(monkeypatch):
    """After it the reason is told, once it has been waited for a while; before any, too."""
    begun, passed = time.monotonic(), 0.0

    def read_clocks() -> tuple[float, float]:
        nonlocal passed
        now = begun + passed
        passed += 0.01  # a wait is no longer than this clock needs
        return now, now

    permit = RelayedPermit(most_wait=0.05)
    assert "silent" in permit.explain_missing_or_empty()
    permit.reset()
    monkeypatch.setattr(incoming, "read_permit_clocks", read_clocks)
    permit.take_permit(Permit(begun + 0.5))
    assert permit.explain_missing_or_empty() == ""
    while permit.explain_missing_or_empty() == "":
        assert passed <= 0.51
    assert passed > 0.5


def test_who_waits_goes_on_with_the_next_permit_and_not_before():
    permit = RelayedPermit(most_wait=300.0)
    permit.take_permit(Permit(time.monotonic() - 1))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(permit.explain_missing_or_empty)
        time.sleep(0.05)
        assert not waiting.done()
        permit.take_permit(Permit(time.monotonic() + 300))
        assert waiting.result(60) == ""


def test_a_reason_is_for_good_until_the_next_apply():
    """Whatever comes after it; who waits is told at once."""
    permit = RelayedPermit(most_wait=300.0)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(permit.explain_missing_or_empty)
        permit.take_permit(Permit(0.0, "the window closed"))
        assert waiting.result(60) == "the window closed"
    permit.take_permit(Permit(time.monotonic() + 300))
    permit.end()
    assert permit.explain_missing_or_empty() == "the window closed"
    permit.reset()
    permit.take_permit(Permit(time.monotonic() + 300))
    assert permit.explain_missing_or_empty() == ""


def test_a_permit_ends_while_the_machine_sleeps(monkeypatch):
    """Its own clock stands still then; another one tells."""
    permit, now = RelayedPermit(most_wait=0.01), time.monotonic()
    monkeypatch.setattr(incoming, "read_permit_clocks", lambda: (now, now + 1000))
    permit.take_permit(Permit(now + 10))
    assert permit.explain_missing_or_empty() == ""
    clocks = iter([(now + 1, now + 4000), (now + 2, now + 4001)])
    monkeypatch.setattr(incoming, "read_permit_clocks", lambda: next(clocks))
    assert "silent" in permit.explain_missing_or_empty()


def test_the_end_of_the_controller_ends_every_permit():
    permit = RelayedPermit()
    permit.take_permit(Permit(time.monotonic() + 300))
    permit.end()
    assert permit.explain_missing_or_empty() == "the controller has ended"
