"""Waiting for calls that are too young to be settled: as long as needed, and no longer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from unit.applying.bench import Bench, widget

from synapse_apply import RemoteError
from synapse_apply.model.address import Address
from synapse_apply.model.state import Intent, IntentState
from synapse_apply.operations.settle import Settling


def begin(bench: Bench, *names: str) -> None:
    """Creates that a run began and did not see end."""
    with bench.store.lock("apply"):
        for name in names:
            at, key = Address("widget", name), f"name={name}"
            call = Intent(
                name, "p", at, "create", "v1", key, sent_at=bench.clock.utc_now(), deadline=65
            )
            bench.store.open_intent_and_use_up_its_approvals(call)


class Waits:
    """Time that passes when it is waited for; `then` happens at the end of wait number `at`."""

    def __init__(self, bench: Bench, then: object = None, at: int = 1) -> None:
        self._bench, self._then, self._at = bench, then, at
        self.lengths: list[float] = []
        self.longest: list[float] = []

    def __call__(self, seconds: float, _young: Sequence[Intent], longest: float) -> None:
        self.lengths.append(seconds)
        self.longest.append(longest)
        with self._bench.store.lock("another"):  # nobody holds the state meanwhile
            now = datetime.fromisoformat(self._bench.clock.at) + timedelta(seconds=seconds)
            self._bench.clock.at = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if callable(self._then) and len(self.lengths) == self._at:
            self._then()


@pytest.mark.parametrize("settles", [True, False])
def test_waiting_ends_once_all_is_known(bench: Bench, settles: bool) -> None:
    """The object shows up, and the backend that is away for a while proves nothing."""
    begin(bench, "a")
    context = bench.context()

    def appear() -> None:
        bench.api.make("widget", {"name": "a"})
        bench.api.fail("list_widget", RemoteError("away"))

    waits = Waits(bench, then=appear)
    if settles:
        known, _ = Settling(context, waits).wait_and_look_up(Settling(context).look_up())
        assert [one.intent.state for one in known] == [IntentState.DONE]
    else:
        Settling(context, waits).wait_until_certain()
    assert waits.lengths == [2, 4]


def test_nothing_is_waited_for_where_nothing_is_open(bench: Bench) -> None:
    """Nor where the object is found at once."""
    waits = Waits(bench)
    Settling(bench.context(widget("a")), waits).wait_until_certain()
    begin(bench, "a")
    bench.api.make("widget", {"name": "a"})
    Settling(bench.context(widget("a")), waits).wait_until_certain()
    assert waits.lengths == []


def test_settling_waits_for_what_is_too_young(bench: Bench) -> None:
    """What was found is recorded at once, the rest when it is certain."""
    begin(bench, "a", "b")
    bench.api.make("widget", {"name": "b"})
    context = bench.context()
    first = Settling(context).look_up()
    assert bench.record("widget/b").remote_id == "1"
    known, elsewhere = Settling(context, Waits(bench)).wait_and_look_up(first)
    assert {str(one.intent.address): one.intent.state for one in known} == {
        "widget/a": IntentState.ABSENT,
        "widget/b": IntentState.DONE,
    }
    assert elsewhere == ()
    assert bench.store.read_state().open_intents == ()


def test_what_another_run_settles_meanwhile_is_said(bench: Bench) -> None:
    """It is neither waited for again nor called open."""
    begin(bench, "a")
    context = bench.context()
    first = Settling(context).look_up()
    waits = Waits(bench, then=lambda: Settling(context).look_up(), at=6)
    known, elsewhere = Settling(context, waits).wait_and_look_up(first)
    assert (known, elsewhere) == ([], (Address("widget", "a"),))
    assert len(waits.lengths) == 6
