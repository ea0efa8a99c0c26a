"""Deletes, through planner, applier and state: only recorded, only with --prune, only once."""

from __future__ import annotations

from unit.applying.bench import Bench, outcome, told, widget
from unit.applying.scripted import lost, refused

from synapse_apply.model.address import Address
from synapse_apply.model.report import Result
from synapse_apply.model.resource import Lifecycle

W = Address("widget", "w")


def pruned(bench: Bench, *desired, **choices):
    return bench.apply(*desired, prune=True, overridden=frozenset({"no-manifests"}), **choices)


def test_protection_outlives_the_manifest(bench):
    """prevent_destroy is kept in state: a refusal that names both ways out."""
    bench.apply(widget("w", Lifecycle(prevent_destroy=True)), widget("keep"))
    report = bench.apply(widget("keep"), prune=True)
    assert report.exit_code == 5
    assert "delete_widget" not in bench.api.calls
    (change,) = report.plan.refused_changes
    assert any("state rm widget/w" in way for way in change.refusals[0].ways_out)


def test_a_failed_delete_keeps_what_it_depends_on(bench):
    """The parent is not tried when its child could not go."""
    bench.apply(widget("a-parent"), widget("z-child", needs="a-parent"))
    bench.api.fail("delete_widget", refused(409))
    report = pruned(bench)
    assert outcome(report, "widget/z-child").result is Result.FAILED
    assert outcome(report, "widget/a-parent").result is Result.SKIPPED
    assert len(bench.api.objects["widget"]) == 2
    assert len(bench.store.read_state().records) == 2


def test_what_is_gone_already_is_deleted(bench):
    """404 on a delete is what was wanted."""
    bench.apply(widget("w"), widget("keep"))
    bench.api.fail("delete_widget", refused(404))
    report = bench.apply(widget("keep"), prune=True)
    assert outcome(report, "widget/w").result is Result.DONE
    assert bench.store.find_record(W) is None


def test_a_lost_delete_that_was_done(bench):
    """The object is gone, so the call was done."""
    bench.apply(widget("w"), widget("keep"))
    bench.api.fail("delete_widget", lost(), done=True)
    report = bench.apply(widget("keep"), prune=True)
    assert outcome(report, "widget/w").result is Result.DONE
    assert bench.store.read_state().open_intents == ()


def test_a_lost_delete_that_was_not_done_is_unknown_and_tried_again_next_time(bench):
    """Exit 7 and an open intent; the next run sees the object and deletes it."""
    bench.apply(widget("w"), widget("keep"))
    bench.api.fail("delete_widget", lost())
    report = bench.apply(widget("keep"), prune=True)
    assert report.exit_code == 7
    assert len(bench.store.read_state().open_intents) == 1
    assert bench.apply(widget("keep"), prune=True).exit_code == 0
    assert bench.store.find_record(W) is None


def test_a_lost_delete_that_nobody_can_look_up_is_unknown_not_failed(bench):
    """Each look after it broke too: the intent stays open and the report says unknown."""
    bench.apply(widget("w"), widget("keep"))
    planned = bench.plan(widget("keep"), prune=True)
    bench.api.fail("delete_widget", lost(), done=True)
    for _ in range(8):
        bench.api.fail("get_widget", lost())
    from synapse_apply import apply

    with bench.store.lock("apply"):
        report = apply(bench.context(widget("keep")), planned, bench.progress)
    assert outcome(report, "widget/w").result is Result.UNKNOWN
    assert "outcome of a call is unknown" in told(report)
    bench.api.faults.clear()
    assert bench.apply(widget("keep"), prune=True).exit_code == 0
    assert bench.store.find_record(W) is None
    assert bench.store.read_state().open_intents == ()
