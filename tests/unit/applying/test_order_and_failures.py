"""The run as a whole: dependency order, what a failure skips, what a stop leaves out."""

from __future__ import annotations

from collections import deque
from threading import Event, Semaphore

import pytest
from unit.applying.bench import outcome, told, widget
from unit.applying.scripted import refused

from synapse_apply.applying.run import SerialExecutor, ThreadedExecutor
from synapse_apply.model.report import Result
from synapse_apply.model.values import SecretRef


def results(report):
    return {str(one.address): one.result.value for one in report.outcomes}


def test_a_failure_skips_all_that_hangs_on_it_and_nothing_else(bench):
    """Transitively; each says what it waited for."""
    bench.api.fail("create_widget", refused(400))
    report = bench.apply(
        widget("a"), widget("b", needs="a"), widget("c", needs="b"), widget("other")
    )
    assert results(report) == {
        "widget/a": "failed",
        "widget/b": "skipped",
        "widget/c": "skipped",
        "widget/other": "done",
    }
    assert "Not tried It depends on widget/b." in told(report)
    assert report.exit_code == 3
    assert (
        bench.apply(
            widget("a"), widget("b", needs="a"), widget("c", needs="b"), widget("other")
        ).exit_code
        == 0
    )
    assert len(bench.api.objects["widget"]) == 4


def test_a_child_waits_for_the_parent_that_is_made_last(bench):
    """One parent is there at once, the other only after a parent of its own."""
    from dataclasses import replace

    from synapse_apply.model.address import Address

    child = replace(widget("z", needs="a"), depends_on=(Address("widget", "b"),))
    bench.apply(widget("a"), widget("b", needs="c"), widget("c"), child)
    assert bench.progress.order == ["widget/a", "widget/c", "widget/b", "widget/z"]


def test_a_child_waits_for_all_its_parents(bench):
    """One of two failed: skipped once, although the other was made."""
    from dataclasses import replace

    from synapse_apply.model.address import Address

    child = replace(widget("z", needs="a"), depends_on=(Address("widget", "b"),))
    bench.api.fail("create_widget", refused(400))
    report = bench.apply(widget("a"), widget("b"), child)
    assert results(report) == {"widget/a": "failed", "widget/b": "done", "widget/z": "skipped"}


def test_a_crash_makes_one_resource_unknown_and_the_rest_goes_on(bench):
    """A defect of ours must not hide what was done; its type is told, its text is not."""
    bench.api.fail("create_widget", RuntimeError("s3cret text"))
    report = bench.apply(widget("a"), widget("b", needs="a"), widget("c"))
    assert results(report) == {"widget/a": "unknown", "widget/b": "skipped", "widget/c": "done"}
    assert "RuntimeError" in told(report)
    assert "s3cret" not in told(report)
    assert report.exit_code == 7
    assert len(bench.store.read_state().open_intents) == 1


@pytest.mark.parametrize("executor", [SerialExecutor, lambda: ThreadedExecutor(2)])
def test_an_executor_gives_every_result_and_every_exception(executor):
    """An exception is a result: it must not end the run."""
    with executor() as pool:
        todo = deque({"a": lambda: 1, "b": lambda: 1 / 0, "c": lambda: 3}.items())
        got = {}
        while len(got) < 3:
            while todo and pool.has_room:
                pool.submit(*todo.popleft())
            name, result = pool.wait_for_result()
            got[name] = result
    assert got["a"] == 1
    assert got["c"] == 3
    assert isinstance(got["b"], ZeroDivisionError)


def test_so_many_call_and_as_many_wait_for_the_state():
    """A place is taken once, given away once, and at the end of a piece in any case."""
    calls, noted, answered, settled = Semaphore(0), Semaphore(0), Event(), Event()
    with ThreadedExecutor(2) as pool:

        def piece():
            noted.release()
            assert pool.acquire_slot_unless_held()
            assert not pool.acquire_slot_unless_held()
            calls.release()
            answered.wait(60)
            pool.release_slot()
            pool.release_slot()
            settled.wait(60)

        def failing():
            pool.acquire_slot_unless_held()
            raise ValueError("with its place")

        for key in range(4):
            assert pool.has_room
            pool.submit(key, piece)
        assert not pool.has_room
        assert all(noted.acquire(timeout=60) for _ in range(4))
        assert all(calls.acquire(timeout=60) for _ in range(2))
        assert not calls.acquire(timeout=0.05)
        answered.set()
        assert all(calls.acquire(timeout=60) for _ in range(2))
        settled.set()
        assert sorted(pool.wait_for_result()[0] for _ in range(4)) == [0, 1, 2, 3]
        for key in range(4):
            pool.submit(key, failing)
        assert all(isinstance(pool.wait_for_result()[1], ValueError) for _ in range(4))
        assert pool.has_room


def test_places_are_near_while_calls_are_brief(monkeypatch):
    """One long call among them says that the next may be long, too, for a while."""
    now = [0.0]
    monkeypatch.setattr("synapse_apply.applying.run.monotonic", lambda: now[0])
    with ThreadedExecutor(1) as pool:

        def call(seconds):
            pool.acquire_slot_unless_held()
            now[0] += seconds
            assert pool.is_available_soon is (seconds < 1)  # also of one that is still going on
            pool.release_slot()

        def near_after(seconds):
            pool.submit("call", lambda: call(seconds))
            pool.wait_for_result()
            return pool.is_available_soon

        assert near_after(0.1)
        assert not near_after(3.0)
        assert not near_after(0.1)
        pool.submit(
            "fading",
            lambda: [pool.acquire_slot_unless_held() and pool.release_slot() for _ in range(12)],
        )
        pool.wait_for_result()
        assert near_after(0.1)


def test_failed_calls_are_audited_without_values(bench):
    """Who, what, how it ended; digests, never a value."""
    bench.environ["W_KEY"] = "v4lue-of-it"
    bench.api.fail("create_widget", refused(400))
    bench.apply(widget("w", configuration={"key": SecretRef("env", "W_KEY")}))
    (entry,) = bench.store.list_audit_entries_newest_first()
    assert (entry.verb, entry.result, entry.who) == ("create", "failed", "tester")
    assert entry.digest.startswith("sha256:")
    assert "v4lue" not in repr(entry)


@pytest.mark.parametrize("action", ["create", "update", "delete"])
def test_a_state_that_cannot_be_written_after_a_call(bench, action):
    """Done and not recorded: found in the same run, if the disk has room again by its end."""
    from synapse_apply.model.errors import StateError

    before = {"create": [], "update": [widget("w", note="a")], "delete": [widget("w")]}[action]
    after = [] if action == "delete" else [widget("w", note="b")]
    choices = {"prune": True, "overridden": frozenset({"no-manifests"})}
    if before:
        bench.apply(*before, widget("other"))
    settle = bench.store.close_ended_intent

    def full(*_args):
        bench.store.close_ended_intent = settle
        raise StateError.from_summary("The disk is full", "No byte is left.")

    bench.store.close_ended_intent = full
    report = bench.apply(*after, widget("other"), **choices)
    assert report.exit_code == 0
    found = "the object existed" if action == "create" else "its effect was visible"
    assert f"{found} at the next check" in told(report)
    assert bench.store.read_state().open_intents == ()
    assert len(bench.api.objects["widget"]) == len(after) + 1
    assert not bench.plan(*after, widget("other"), **choices).plan.has_changes


def test_a_state_that_cannot_be_written_before_a_call(bench):
    """No intent, no call: certainly not done."""
    from synapse_apply.model.errors import StateError

    def full(*_args):
        raise StateError.from_summary("The disk is full", "No byte is left.")

    bench.store.open_intent_and_use_up_its_approvals = full
    report = bench.apply(widget("w"))
    assert outcome(report, "widget/w").result is Result.FAILED
    assert bench.api.bodies == []
