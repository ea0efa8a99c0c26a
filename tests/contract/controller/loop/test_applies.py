"""What the loop applies, holds and leaves, by mode, window, pause and what an apply says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta

from contract.controller.loop.stand_ins import (
    IN_SYNC,
    World,
    describe_runs,
    end_of,
    list_cause_details,
    plan_of,
    row,
)

from synapse_apply.controller.planned_rows import RowAction, RowCause
from synapse_apply.controller.ports import Permit, RunResult
from synapse_apply.controller.rows import (
    CallCounts,
    RevisionEnd,
    RunCause,
    RunOutcome,
    RunVerb,
    TargetCondition,
    TargetName,
    TargetProgress,
)
from synapse_apply.controller.settings import AutoRule, FixedPause, Mode, TargetRule
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.model.cron import Cron, Window

PROD = TargetName("acme", "prod")
AUTO = TargetRule("*", mode=Mode.AUTO)
FIRST, SECOND = row("plugin/a"), row("plugin/b")
DRIFTED = row("plugin/c", cause=RowCause.DRIFT)


def test_auto_applies_what_git_says_and_looks_at_what_is_live(world):
    """One apply, one look after it; the commit is green when that look has seen it."""
    world.set_rules(AUTO)
    world.workers.results["acme/prod"] = plan_of(FIRST, SECOND)
    assert world.run_once() == ["acme/dev", "acme/prod", "acme/prod"]
    (request,) = world.workers.applies
    assert (request.target, request.commit, request.prune) == (PROD, "c1", False)
    assert request.who == "controller:main"
    assert request.operation == (
        f"apply by controller main (https://page.example/runs/{request.run_id})"
    )
    assert describe_runs(world) == ["apply applied", "look in_sync"]
    run = world.store.find_run(request.run_id)
    assert (run.calls, run.plan_json, run.report_json) == (CallCounts(done=2), '{"rows": 1}', "{}")
    prod = world.get_target("prod")
    assert (prod.state, prod.progress) == (TargetCondition.IN_SYNC, TargetProgress.DONE)
    assert (prod.applied_commit, prod.mode, prod.applied_at) == ("c1", Mode.AUTO, world.clock.wall)
    assert end_of(world, "c1")[0] is RevisionEnd.SUCCESS
    assert world.inbox.messages == []
    end, begin = [audit for audit in world.store.audit_rows(9) if "apply" in audit.action]
    assert {audit.who for audit in (begin, end)} == {"controller:main"}
    assert {audit.subject for audit in (begin, end)} == {"acme/prod"}
    assert (begin.action, begin.detail) == ("begin apply", f"run {run.id} of c1")
    assert end.detail == f"run {run.id} of c1: applied, 2 done"


def test_drift_is_judged_beside_the_last_commit_that_was_live(world):
    """By the look and by the apply: a commit may bring up drift that the last one left alone."""
    world.set_rules(AUTO)
    world.run_once()
    assert world.get_target("prod").applied_commit == "c1"
    world.repository.push("c2", prod="p2")
    world.workers.results["acme/prod"] = plan_of(FIRST)
    world.run_once()
    (apply,) = world.workers.applies
    assert (apply.commit, apply.live_commit) == ("c2", "c1")
    look = next(look for look in world.workers.looks if look.commit == "c2")
    assert look.live_commit == "c1"


def test_an_apply_whose_controller_was_killed_is_in_the_history(world):
    """Once, with its cause and its commit, before the look that goes on; nothing is told of it."""
    world.set_rules(AUTO)
    world.workers.results["acme/prod"] = plan_of(FIRST)
    loop = world.build_loop()

    def die(_request: Order, read_permit: Callable[[], Permit]) -> RunResult:
        read_permit()
        # As by kill -9: nothing of this process is written any more.
        loop._parts.is_closing = True
        return RunResult(RunOutcome.WORKER_LOST)

    world.workers.applied["acme/prod"] = die
    loop.run_once()
    (lost,) = world.workers.applies
    assert describe_runs(world) == []
    begun = world.get_target("prod").begun_apply
    assert (begun.run, begun.commit) == (lost.run_id, "c1")
    world.workers.applied.clear()
    world.workers.is_closed = False
    for _ in range(3):
        world.run_once(after=1)
        world.workers.is_closed = False
    assert describe_runs(world) == ["apply worker_lost", "apply applied", "look in_sync"]
    run = world.store.find_run(lost.run_id)
    assert (run.verb, run.cause, run.commit) == (RunVerb.APPLY, RunCause.PUSH, "c1")
    assert (
        run.findings[0].summary == "The controller ended, or lost its claim, while this apply ran"
    )
    assert world.get_target("prod").begun_apply is None
    texts = [audit.detail for audit in world.store.audit_rows(99) if audit.action == "apply"]
    assert f"run {lost.run_id} of c1: worker_lost" in texts
    assert len(texts) == 2
    assert world.inbox.messages == []


def test_what_the_rule_does_not_cover_is_held(world):
    """The rest is applied; the commit waits, as people are told once."""
    actions = frozenset({RowAction.CREATE, RowAction.UPDATE})
    world.set_rules(
        TargetRule("*", mode=Mode.AUTO, auto=AutoRule(frozenset({RowCause.GIT}), actions))
    )
    deletion = row("plugin/old", RowAction.DELETE)
    world.workers.results["acme/prod"] = plan_of(FIRST, deletion)
    world.run_once()
    assert describe_runs(world) == ["apply applied", "look changes"]
    prod = world.get_target("prod")
    assert (prod.state, prod.progress) == (TargetCondition.HELD, TargetProgress.HELD)
    (hold,) = world.store.list_holds(PROD)
    assert (hold.held_row.row, hold.commit, hold.run) == (deletion, "c1", prod.last_run)
    assert prod.hold_count == 1
    assert end_of(world, "c1")[0] is RevisionEnd.NONE
    assert world.inbox.describe() == ["held acme/prod"]
    message = world.inbox.messages[0]
    assert message.fields["held"] == {
        "count": 1,
        "rows": [{"address": "plugin/old", "action": "delete", "summary": "", "reason": "action"}],
    }
    assert message.fields["url"] == "https://page.example/targets/acme/prod"
    for _ in range(3):
        world.run_once(after=700)
    assert len(world.workers.applies) == 1
    assert world.inbox.describe() == ["held acme/prod"]
    assert world.store.list_holds(PROD)[0].since == hold.since


def test_drift_that_is_left_alone_does_not_keep_a_commit_waiting(world):
    """It shows as drift, and can be approved all the same."""
    world.set_rules(
        TargetRule("*", mode=Mode.AUTO, auto=AutoRule(causes=frozenset({RowCause.GIT})))
    )
    world.workers.results["acme/prod"] = plan_of(DRIFTED)
    world.run_once()
    prod = world.get_target("prod")
    assert (prod.state, prod.progress) == (TargetCondition.DRIFTED, TargetProgress.DONE)
    assert prod.hold_count == 1
    assert end_of(world, "c1")[0] is RevisionEnd.SUCCESS
    world.repository.push("c2")
    world.run_once()
    assert world.forge.describe()["c2"] == "success: affects no target"


def test_another_run_that_has_the_lock_is_waited_for(world):
    """Nothing is recorded, and it is tried again soon: the other run may be a person's."""
    world.set_rules(AUTO)
    world.workers.results["acme/prod"] = plan_of(FIRST)
    world.workers.applied["acme/prod"] = RunResult(
        RunOutcome.APPLY_STOPPED, held_up_by_run="kim@laptop"
    )
    assert world.build_loop().run_once() == 1
    world.workers.is_closed = False
    assert describe_runs(world) == []
    prod = world.get_target("prod")
    assert prod.due_at - world.clock.wall == 30
    assert prod.failures == 0
    del world.workers.applied["acme/prod"]
    world.run_once(after=31)
    assert describe_runs(world) == ["apply applied", "look in_sync"]


def nine_to_five(world: World) -> Window:
    """A window that is closed now and opens in an hour, for eight hours."""
    opening = int(world.clock.wall) + 3600
    minute, hour = opening // 60 % 60, opening // 3600 % 24
    return Window(Cron.parse(f"{minute} {hour} * * *"), timedelta(hours=8), UTC)


def test_outside_of_a_window_everything_waits_for_its_opening(world):
    """It is due when the window opens, whatever its interval is; the commit says what it waits for."""
    world.clock.wall = 1_000_020.0
    world.set_rules(TargetRule("*", mode=Mode.AUTO, interval=7200, windows=(nine_to_five(world),)))
    world.workers.results["acme/prod"] = plan_of(FIRST)
    world.run_once()
    prod = world.get_target("prod")
    assert (prod.state, prod.progress) == (TargetCondition.WAITING, TargetProgress.WAITING)
    assert prod.waiting_reason.startswith("outside its windows until ")
    assert (prod.due_at, prod.due_cause) == (world.clock.wall + 3600, RunCause.RESUMED)
    assert end_of(world, "c1") == (RevisionEnd.NONE, "1 of 2 done, 1 waiting: prod")
    assert world.workers.applies == []
    world.run_once(after=3600)
    assert describe_runs(world)[-2:] == ["apply applied", "look in_sync"]
    assert "a window that opened" in list_cause_details(world)
    assert world.get_target("prod").waiting_reason == ""


def test_a_pause_of_the_file_holds_until_it_is_taken_out(world):
    """A start, and a configuration that is read again, decide anew without waiting an interval."""
    world.set_rules(TargetRule("*", mode=Mode.AUTO, pause=FixedPause("a freeze")))
    world.workers.results["acme/prod"] = plan_of(FIRST)
    world.run_once()
    prod = world.get_target("prod")
    assert prod.state is TargetCondition.PAUSED
    assert prod.waiting_reason == "paused by controller.yaml: a freeze"
    assert world.workers.applies == []
    assert world.run_once() == []
    world.set_rules(AUTO)
    world.run_once()
    assert len(world.workers.applies) == 1


def test_a_state_that_is_behind_is_written_without_a_permitted_row(world):
    """Where it is still behind afterwards, that waits; in mode observe nothing is written."""
    behind = replace(IN_SYNC, is_state_behind=True)
    world.workers.results["acme/prod"] = behind
    world.workers.applied["acme/prod"] = IN_SYNC
    world.run_once()
    assert world.workers.applies == []
    world.set_rules(AUTO)
    world.clock.advance(700)
    loop = world.begin()
    assert len(world.workers.applies) == 1
    assert describe_runs(world) == ["look in_sync", "apply in_sync", "look in_sync"]
    assert world.settle(loop) == []


def test_who_waits_for_a_verification_is_looked_at_when_that_target_had_a_run(world):
    """Without waiting for an interval; no commit is red meanwhile."""
    world.set_rules(AUTO)
    waiting = row(
        "package/a",
        refusal="require-verified",
        refusal_reason="target dev must have verified it first, but it was never verified there",
        is_waiting=True,
    )
    world.workers.results["acme/prod"] = plan_of(waiting)
    loop = world.begin()
    prod = world.get_target("prod")
    assert (prod.state, prod.progress) == (TargetCondition.WAITING, TargetProgress.WAITING)
    assert end_of(world, "c1")[0] is RevisionEnd.NONE
    world.workers.results["acme/dev"] = plan_of(FIRST)
    world.reconcile("proxy:ann", TargetName("acme", "dev"))
    world.workers.results["acme/prod"] = plan_of(SECOND)
    world.settle(loop)
    assert [str(request.target) for request in world.workers.applies] == ["acme/dev", "acme/prod"]
    assert world.get_target("prod").state is TargetCondition.IN_SYNC
