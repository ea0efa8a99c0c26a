"""How much of an apply others are told while it runs: the newest rows, once a second."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from counting import calls_of

from synapse_apply.controller.ports import Permit
from synapse_apply.controller.rows import CallProgress
from synapse_apply.controller.worker import child
from synapse_apply.controller.worker.apply import ToldRows
from synapse_apply.controller.worker.exchange import Order, encode_progress
from synapse_apply.model.address import Address
from synapse_apply.model.json_values import WrongShapeError

ORDER = Order("acme", "dev", "c1", 60.0)
COUNT = 5000


class Listener:
    """An apply whose worker says a lot, by a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.told = 100.0, list[list[CallProgress]]()
        monkeypatch.setattr(child, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.conversation = child.Conversation(
            ORDER, lambda: Permit(0.0), tell=lambda calls: self.told.append([*calls])
        )

    def hear(self, number: int, result: str) -> None:
        call = CallProgress(number, COUNT, f"storage/s-{number}", "create", 1.0, result)
        self.conversation.take_progress(encode_progress(call))
        self.conversation.tell_progress()


def test_many_rows_are_told_once_a_second_and_the_newest_of_them(monkeypatch):
    """One that goes on is told as long as it does, however many have ended since."""
    listener = Listener(monkeypatch)
    listener.hear(1, "")
    for number in range(2, COUNT + 1):
        listener.hear(number, "")
        listener.hear(number, "done")
    assert [[call.number for call in calls] for calls in listener.told] == [[1]]
    listener.now += 1
    for _ in range(9):
        listener.conversation.tell_progress()
    newest = range(COUNT - child.MAX_TOLD_CALLS + 2, COUNT + 1)
    assert [call.number for call in listener.told[-1]] == [1, *newest]
    assert [call.result for call in listener.told[-1]][:2] == ["", "done"]
    assert len(listener.told) == 2


def test_a_check_that_tells_of_rows_is_no_worker_of_ours(monkeypatch):
    Listener(monkeypatch)
    call = CallProgress(1, 1, "storage/a", "create", 1.0)
    with pytest.raises(WrongShapeError):
        child.Conversation(ORDER).take_progress(encode_progress(call))


def test_an_apply_that_tells_of_rows_without_an_end_is_no_worker_of_ours(monkeypatch):
    monkeypatch.setattr(child, "MOST_PROGRESS_LINES", 3)
    listener = Listener(monkeypatch)
    for result in ("", "done", ""):
        listener.hear(1, result)
    with pytest.raises(WrongShapeError):
        listener.hear(1, "done")


class LookedUp(Address):
    """Each look-up of it is a call that can be counted."""

    def __hash__(self) -> int:
        return hash(tuple(self))


def test_a_row_that_begins_costs_the_same_after_any_number_of_others():
    def tell_of(count: int) -> int:
        addresses = [LookedUp("storage", f"s-{number}") for number in range(count)]
        told = list[CallProgress]()
        judgement = SimpleNamespace(permitted_rows=addresses)
        rows = ToldRows(SimpleNamespace(judgement=judgement), told.append)
        calls = calls_of(lambda: [rows.report_start(one, "create") for one in addresses])
        assert [call.number for call in told] == [*range(1, count + 1)]
        return calls

    assert tell_of(800) < 2.2 * tell_of(400)
