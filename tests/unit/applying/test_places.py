"""Creates are announced before they have a place among the calls, and nothing is lost by that."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Semaphore, Thread

import pytest
from sessions import with_parts
from unit.applying.bench import Bench, outcome, plugin, release, widget, widget_kind

from synapse_apply import PlanOptions, apply, plan
from synapse_apply.applying.run import SerialExecutor
from synapse_apply.model.report import Result
from synapse_apply.model.resource import Lookup


class Crowded(SerialExecutor):
    """One piece at a time, and each waits for its place: `meanwhile` happens before it has it."""

    def __init__(self, meanwhile: Callable[[], None], *, is_near: bool = True) -> None:
        super().__init__()
        self.is_available_soon = is_near
        self._meanwhile = meanwhile
        self._has = False

    def acquire_slot_unless_held(self) -> bool:
        if self._has:
            return False
        self._has = True
        self._meanwhile()
        return True

    def release_slot(self) -> None:
        self._has = False

    def wait_for_result(self):
        ended = super().wait_for_result()
        self.release_slot()
        return ended


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let every place be waited for."""

    def crowd(meanwhile: Callable[[], None], *, is_near: bool = True) -> None:
        made = Crowded(meanwhile, is_near=is_near)
        monkeypatch.setattr("synapse_apply.operations.apply.SerialExecutor", lambda: made)

    return crowd


def results(bench: Bench) -> list[str]:
    """How each call ended, the newest last."""
    return [entry.result for entry in reversed(bench.store.list_audit_entries_newest_first())]


def test_a_create_is_announced_before_it_has_its_place(bench: Bench, crowd) -> None:
    """Whoever looks while it waits sees its intent, and nothing was sent."""
    seen: list[tuple[int, int]] = []

    def look() -> None:
        seen.append((len(bench.store.read_state().open_intents), len(bench.api.writes())))

    crowd(look)
    assert bench.apply(widget("a"), widget("b")).exit_code == 0
    assert seen == [(1, 0), (1, 1)]
    assert results(bench) == ["done", "done"]


@pytest.mark.parametrize("lookup", [Lookup.POSITIVE, Lookup.NONE])
def test_what_cannot_be_looked_up_is_announced_in_its_place(bench, crowd, lookup) -> None:
    """A run killed while it waits leaves nothing that nobody can tell of."""
    kind = widget_kind(
        lookup={"name": lookup}, list_objects=None, find_by_key=lambda _api, _key: []
    )
    bench.catalogue = {**bench.catalogue, "widget": kind}
    seen: list[int] = []
    crowd(lambda: seen.append(len(bench.store.read_state().open_intents)))
    assert bench.apply(widget("a")).exit_code == 0
    assert seen == [0]


def test_while_calls_are_long_a_create_is_announced_in_its_place(bench, crowd) -> None:
    """And what is packed, and each update, delete and run, always is."""
    seen: list[int] = []
    crowd(lambda: seen.append(len(bench.store.read_state().open_intents)), is_near=False)
    assert bench.apply(widget("a", note="x")).exit_code == 0
    crowd(lambda: seen.append(len(bench.store.read_state().open_intents)))
    bench.apply(widget("a", note="y"), plugin(), release())
    bench.apply(plugin(), release(), prune=True)
    made = ["create_plugin", "create_release", "create_widget"]
    assert sorted(bench.api.writes()) == [*made, "delete_widget", "update_widget"]
    assert seen == [0] * 5


def test_a_place_that_comes_late_is_announced_again(bench: Bench, crowd) -> None:
    """The next run counts a call's age from the time that is noted: it must be that of the call."""
    sent_at: list[str] = []

    def long() -> None:
        bench.clock.waited += 30.0
        bench.clock.at = "2026-01-01T00:00:30.000000Z"

    crowd(long)
    make = bench.api.make

    def made(kind, body):
        sent_at.extend(intent.sent_at for intent in bench.store.read_state().open_intents)
        return make(kind, body)

    bench.api.make = made
    report = bench.apply(widget("a"))
    assert outcome(report, "widget/a").result is Result.DONE
    assert sent_at == ["2026-01-01T00:00:30.000000Z"]
    assert results(bench) == ["not sent", "done"]
    assert len(bench.api.objects["widget"]) == 1


def test_a_run_that_is_stopped_sends_nothing_that_waits(bench: Bench, crowd) -> None:
    """What was announced is closed again, and the next run makes it; no row is a failure."""
    stopped: list[int] = []
    crowd(lambda: stopped.append(2))
    report = bench.apply(widget("a"), widget("b"), stop=lambda: stopped[-1] if stopped else 0)
    assert [one.result for one in report.outcomes] == [Result.SKIPPED, Result.SKIPPED]
    assert {one.diagnostics[0].detail for one in report.outcomes} == {"The run was stopped."}
    assert bench.api.writes() == []
    assert bench.store.read_state().open_intents == ()
    assert results(bench) == ["not sent"]
    crowd(lambda: None)
    assert bench.apply(widget("a"), widget("b")).exit_code == 0
    assert len(bench.api.objects["widget"]) == 2


def test_an_update_that_waits_is_not_begun_either(bench: Bench, crowd) -> None:
    """Not even read."""
    bench.apply(widget("a", note="x"))
    stopped: list[int] = []
    crowd(lambda: stopped.append(2))
    bench.api.calls.clear()
    report = bench.apply(widget("a", note="y"), stop=lambda: stopped[-1] if stopped else 0)
    assert outcome(report, "widget/a").result is Result.SKIPPED
    assert bench.api.calls.count("get_widget") == 1  # the plan's
    assert bench.live("a")["note"] == "x"


def test_what_only_waits_when_nobody_waits_any_more_is_not_unknown(bench: Bench) -> None:
    """Two updates of six have places; of the others nothing was sent, and the report says so."""
    names = "abcdef"
    bench.apply(*(widget(name, note="x") for name in names))
    called, answered, stopped = Semaphore(0), Event(), Event()
    change = bench.api.change

    def slow(kind, pk, body):
        called.release()
        answered.wait(60)
        return change(kind, pk, body)

    bench.api.change = slow
    context = with_parts(bench.context(*(widget(n, note="y") for n in names)), parallelism=2)
    threads: list[Thread] = []

    def until_cut(work: Callable[[], None]) -> None:
        threads.append(Thread(target=work))
        threads[0].start()
        assert all(called.acquire(timeout=60) for _ in range(2))
        stopped.set()

    with bench.store.lock("apply"):
        report = apply(
            context,
            plan(context, PlanOptions()),
            bench.progress,
            lambda: 2 if stopped.is_set() else 0,
            run_calls=until_cut,
        )
        answered.set()
        threads[0].join(60)
    assert sorted(one.result.value for one in report.outcomes) == ["skipped"] * 4 + ["unknown"] * 2
    assert sum(one["note"] == "y" for one in bench.api.objects["widget"].values()) == 2


def test_what_waits_asks_a_broken_state_nothing_more(bench: Bench, crowd, monkeypatch) -> None:
    """Its intent stays open: the next run finds that it was not done, and does it."""
    broken: list[bool] = []
    crowd(lambda: broken.append(True))
    monkeypatch.setattr(bench.store, "has_failed_write", lambda: bool(broken))
    monkeypatch.setattr(
        bench.store,
        "close_ended_intent",
        lambda *_: pytest.fail("asked again"),
    )
    report = bench.apply(widget("a"))
    assert outcome(report, "widget/a").result is Result.SKIPPED
    assert len(bench.store.read_state().open_intents) == 1
    assert bench.api.writes() == []
