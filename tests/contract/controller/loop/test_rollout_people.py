"""What people ask of rollouts: what it does, what it refuses, and what the audit has of it."""

from __future__ import annotations

import pytest
from contract.controller.loop.rollout_world import (
    ALL,
    ANN,
    CANARIES,
    RolloutWorld,
    start_after_first_head,
)

from synapse_apply.controller.ports import ActionRefused
from synapse_apply.controller.rows import TargetCondition, WaveEnd
from synapse_apply.controller.settings import DAY, MINUTE, Rollout


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
