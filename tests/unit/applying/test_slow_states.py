"""A state that takes long to note a call: its time must not be older than the call is."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Thread, current_thread

import pytest
from unit.applying.bench import Bench, outcome, plugin, release, widget
from unit.applying.test_verifying import PAGE

from synapse_apply.model.errors import StateError
from synapse_apply.model.report import Result
from synapse_apply.model.state import Intent


@dataclass
class Slow(Bench):
    """Each intent takes so many seconds of its clock, and after some the state is full."""

    seconds: float = 0.0
    left: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        self.write = self.store.open_intent_and_use_up_its_approvals
        self.store.open_intent_and_use_up_its_approvals = self.write_late  # type: ignore[method-assign]
        self.store.has_failed_write = lambda: self.left < 0  # type: ignore[method-assign]

    def write_late(self, intent: Intent) -> None:
        self.left -= 1
        if self.left < 0:
            raise StateError.from_summary("The disk is full")
        self.write(intent)
        self.clock.waited += self.seconds


@pytest.fixture
def slow(tmp_path) -> Slow:
    return Slow(tmp_path)


def test_a_call_noted_too_late_is_not_sent(slow):
    """The next run would count its age from a time long before it; and it is no open call."""
    slow.seconds = 6.0
    report = slow.apply(widget("w"))
    assert report.exit_code == 3
    (said,) = outcome(report, "widget/w").diagnostics
    assert said.summary == "The state is slow"
    assert "Recording the intent of the create of widget/w took 6" in said.detail
    assert slow.api.writes() == []
    assert slow.store.read_state().open_intents == ()
    assert slow.store.list_audit_entries_newest_first()[0].result == "not sent"
    slow.seconds = 4.0
    assert slow.apply(widget("w")).exit_code == 0
    assert len(slow.api.objects["widget"]) == 1


def test_an_update_a_delete_and_a_run_neither(slow):
    """Records stay as they were, and the next run does it."""
    before = (widget("w", note="a"), widget("x"), plugin(), release())
    slow.apply(*before)
    done = len(slow.api.writes())
    slow.seconds = 6.0
    after = (widget("w", note="b"), plugin(), release(verify=PAGE))
    report = slow.apply(*after, prune=True)
    assert report.exit_code == 3
    assert {one.result for one in report.outcomes} == {Result.FAILED}
    assert slow.api.writes()[done:] == []
    assert len(slow.store.read_state().records) == 4
    slow.seconds = 0.0
    assert slow.apply(*after, prune=True).exit_code == 0
    assert sorted(slow.api.writes()[done:]) == ["delete_widget", "run_plugin", "update_widget"]


def test_what_could_not_be_recorded_is_not_begun(slow):
    """After the first write that fails nothing else is tried, and each row says why."""
    slow.left = 1
    report = slow.apply(widget("a"), widget("b"), widget("c"), widget("d"))
    results = [one.result for one in report.outcomes]
    assert results == [Result.DONE, Result.FAILED, Result.SKIPPED, Result.SKIPPED]
    assert report.outcomes[-1].diagnostics[0].detail == "The state could not be written."
    assert len(slow.api.writes()) == 1


def test_one_thread_writes_the_records_of_calls_that_end_in_turn(bench, monkeypatch):
    """It ends when there is none to write, and another one is started then."""
    threads: list[Thread] = []
    close = bench.store.close_ended_intent

    def note_thread(*ended):
        threads.append(current_thread())
        return close(*ended)

    bench.store.close_ended_intent = note_thread
    monkeypatch.setattr("synapse_apply.applying.run._IDLE_SECONDS", 60)
    assert bench.apply(widget("a"), widget("b"), widget("c")).exit_code == 0
    assert len(threads) == 3
    assert len({*threads}) == 1
    monkeypatch.setattr("synapse_apply.applying.run._IDLE_SECONDS", 0.01)
    assert bench.apply(widget("a"), widget("b"), widget("c"), widget("d")).exit_code == 0
    threads[3].join(60)
    assert not threads[3].is_alive()
