"""What people ask of rollouts: what it does, what it refuses, and what the audit has of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from contract.controller.loop.rollout_world import (
    ALL,
    ANN,
    CANARIES,
    TARGETS,
    RolloutWorld,
    start_after_first_head,
)

from synapse_apply.controller.ports import ActionRefused, Permit, RunResult
from synapse_apply.controller.rows import CallCounts, RunOutcome, TargetCondition, WaveEnd
from synapse_apply.controller.settings import DAY, MINUTE, Rollout
from synapse_apply.controller.worker.exchange import Order


@pytest.fixture
def world(rollout_world: RolloutWorld) -> RolloutWorld:
    return rollout_world


def test_a_wave_is_let_begin_by_a_person(world, waiting_loop):
    """It is told once, and once more each day; the approval is of this revision alone."""
    world.wait(waiting_loop, 3 * DAY, step=6 * 3600)
    told = [
        (row.event, row.fields["reminder"]) for row in world.inbox.messages if row.fields["rollout"]
    ]
    assert told == [("held", False), ("held", True), ("held", True), ("held", True)]
    assert world.forge.describe()["c2"].startswith("pending: 3 of 4 done")
    actions = waiting_loop.get_people_actions()
    actions.approve_wave_or_refuse(ANN, "all", 2, 3)
    world.settle(waiting_loop)
    assert world.take_writes() == ["prod-1 c2"]
    assert world.describe_rollout() == "c2 wave 3 done"
    assert world.list_waves()[2].approved_by == ANN
    world.push("c3")
    world.follow(waiting_loop)
    assert world.describe_rollout() == "c3 wave 3 waiting for approval"
    assert "proxy:ann approve wave: wave 3 of 3" in world.list_audit_of_rollouts()


def test_an_unknown_rollout_is_refused(world, waiting_loop):
    """Also one that the configuration has and that has not begun."""
    world.set_rollouts(ALL, Rollout("other", "acme", (CANARIES,)))
    for name in ("other", "none", ""):
        with pytest.raises(ActionRefused, match="Rollout not found"):
            waiting_loop.get_people_actions().abort_rollout_or_refuse(ANN, name, 2, "")


def test_a_stopped_one_is_resumed(world):
    """What failed is tried at once, and counts anew."""
    loop = start_after_first_head(world)
    world.push("c2")
    world.failing.add("canary-1")
    world.follow(loop)
    assert world.describe_rollout() == "c2 wave 1 stopped"
    actions = loop.get_people_actions()
    actions.resume_rollout_or_refuse(ANN, "all", 2)
    world.settle(loop)
    assert world.describe_rollout() == "c2 wave 1 stopped"
    world.failing.clear()
    actions.resume_rollout_or_refuse(ANN, "all", 2)
    world.settle(loop)
    assert world.describe_rollout() == "c2 wave 3 done"
    with pytest.raises(ActionRefused, match="not stopped"):
        actions.resume_rollout_or_refuse(ANN, "all", 2)
    told = [row.event for row in world.inbox.messages if row.fields["rollout"]]
    assert told == ["failed", "recovered", "failed", "recovered"]


def test_a_wave_is_skipped_with_a_reason(world):
    """The next wave begins without evidence, and the audit says who wanted that."""
    loop = start_after_first_head(world)
    world.push("c2")
    world.failing.add("canary-1")
    world.follow(loop)
    loop.get_people_actions().skip_wave_or_refuse(ANN, "all", 2, 1, "the canary's server\nis away")
    world.settle(loop)
    assert sorted(world.take_writes()) == ["eu-1 c2", "eu-2 c2", "prod-1 c2"]
    wave = world.list_waves()[0]
    assert (wave.end, wave.closed_by, wave.reason) == (
        WaveEnd.SKIPPED, ANN, "the canary's server is away",
    )  # fmt: skip
    assert "proxy:ann skip wave: wave 1 of 3: the canary's server is away" in (
        world.list_audit_of_rollouts()
    )


def test_a_drifted_target_of_a_later_wave_is_put_right_at_its_own_revision(world, waiting_loop):
    """It is looked at all the time, and what it finds does not bring the head to it."""
    world.live["prod-1"] = "by hand"
    world.wait(waiting_loop, 15 * MINUTE)
    assert world.take_writes() == ["prod-1 c1"]
    assert world.get_target("prod-1").state is TargetCondition.IN_SYNC
    assert world.get_target("prod-1").wanted_commit == "c1"


def test_an_aborted_revision_comes_to_no_target_that_did_not_have_it(world):
    """Not at the end of a pause, nor while the next head is in an earlier wave."""
    loop = start_after_first_head(world)
    actions = loop.get_people_actions()
    actions.pause_scope_or_refuse(ANN, "acme/eu-1", "night", world.clock.read_wall() + 3600)
    world.push("c2")
    world.follow(loop)
    assert world.take_writes() == ["canary-1 c2", "eu-2 c2"]
    actions.abort_rollout_or_refuse(ANN, "all", 2, "wrong model")
    actions.resume_scope_or_refuse(ANN, "acme/eu-1")
    world.wait(loop, DAY, step=3600)
    eu_1 = world.get_target("eu-1")
    assert (world.take_writes(), eu_1.state) == ([], TargetCondition.PAUSED)
    assert eu_1.waiting_reason == (
        "paused by rollout all: it was aborted while the target changed; "
        "a later commit ends the pause"
    )
    with pytest.raises(ActionRefused) as caught:
        actions.resume_scope_or_refuse(ANN, "acme/eu-1")
    (problem,) = caught.value.diagnostics
    assert (problem.detail, problem.hint) == (
        "`acme/eu-1` is paused by rollout all, which was aborted while the target changed.",
        "Push a later commit, or roll the target back: either ends the pause.",
    )
    # What has it keeps it, and is corrected.
    world.live["canary-1"] = "by hand"
    world.wait(loop, DAY, step=3600)
    assert world.take_writes() == ["canary-1 c2"]
    world.failing.add("canary-1")
    world.push("c3")
    world.wait(loop, DAY, step=3600)
    assert (world.describe_rollout(), world.take_writes()) == ("c3 wave 1 stopped", [])
    world.failing.clear()
    actions.resume_rollout_or_refuse(ANN, "all", 3)
    world.follow(loop)
    assert world.describe_rollout() == "c3 wave 3 done"
    assert sorted(world.take_writes()) == [f"{name} c3" for name in TARGETS]


def test_an_aborted_revision_is_not_tried_again(world):
    """Where it failed before; nor after a start of the controller. The revert finds nothing to do."""
    loop = start_after_first_head(world)
    world.push("c2")
    world.failing.add("eu-1")
    world.follow(loop)
    assert world.describe_rollout() == "c2 wave 2 stopped"
    loop.get_people_actions().abort_rollout_or_refuse(ANN, "all", 2, "wrong model")
    world.failing.clear()
    world.take_writes()
    world.wait(loop, 3600)
    again = world.build_loop()
    world.start(again)
    world.wait(again, 3600)
    assert (world.take_writes(), world.live["eu-1"]) == ([], "c1")
    world.push("c3", text="c1")
    world.follow(again)
    assert world.describe_rollout() == "c3 wave 3 done"
    assert world.take_writes() == ["canary-1 c1", "eu-2 c1"]


def test_an_abort_ends_an_apply(world):
    """Its calls begin no more, as at a pause; what it has done stays."""
    loop = start_after_first_head(world)
    permits: list[Permit] = []

    def apply(request: Order, read_permit: Callable[[], Permit]) -> RunResult:
        permits.append(read_permit())
        loop.get_people_actions().abort_rollout_or_refuse(ANN, "all", 2, "wrong model")
        permits.append(read_permit())
        stopped, calls = RunOutcome.APPLY_STOPPED, CallCounts(done=1, skipped=1)
        return RunResult(stopped, calls=calls, stop_reason=permits[-1].reason)

    world.workers.applied["acme/canary-1"] = apply
    world.push("c2")
    world.follow(loop)
    assert world.describe_rollout() == "c2 wave 1 aborted"
    first, *later = [permit.reason for permit in permits]
    assert (first, len(later)) == ("", 1)
    assert later[0].startswith("paused by rollout all: it was aborted")
    assert world.get_target("canary-1").state is TargetCondition.PAUSED
