"""Rollouts whose targets or waves become others, whose store is empty, or that last long."""

from __future__ import annotations

from dataclasses import replace

import pytest
from contract.controller.loop.rollout_world import (
    ALL,
    ANN,
    CANARIES,
    PROD,
    STANDARD,
    TARGETS,
    RolloutWorld,
    start_after_first_head,
)

from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.settings import DAY, MINUTE, Mode, Rollout, TargetRule, Wave


@pytest.fixture
def world(rollout_world: RolloutWorld) -> RolloutWorld:
    return rollout_world


# Other targets, other waves


def test_targets_of_a_rollout_that_is_no_more_follow_the_head(world, waiting_loop):
    """As any target does that is in none; the audit says so."""
    world.set_rollouts()
    world.reload(waiting_loop)
    assert world.take_writes() == ["prod-1 c2"]
    assert world.store.list_rollouts() == []
    assert world.store.list_rollout_targets("all") == []
    assert world.list_audit_of_rollouts()[-1] == (
        "controller:main forget rollout: controller.yaml no longer has it"
    )
    world.set_rollouts(replace(ALL, waves=(CANARIES, STANDARD, replace(PROD, approve=True))))
    world.reload(waiting_loop)
    assert world.describe_rollout() == "c2 wave 3 done"
    assert world.take_writes() == []


def test_waves_that_are_changed_in_the_middle_keep_what_was_shown(world, waiting_loop):
    """The approval that a wave waits for is asked of the wave as it is now."""
    waves = (CANARIES, Wave(targets=("eu-1", "prod-1"), approve=True), Wave(targets=("eu-2",)))
    world.set_rollouts(replace(ALL, waves=waves))
    world.reload(waiting_loop)
    assert world.describe_rollout() == "c2 wave 2 waiting for approval"
    assert world.take_writes() == []
    waiting_loop.get_people_actions().approve_wave_or_refuse(ANN, "all", 2, 2)
    world.settle(waiting_loop)
    assert world.take_writes() == ["prod-1 c2"]
    assert world.describe_rollout() == "c2 wave 3 done"


def test_rollouts_that_share_a_target_move_nothing_until_that_is_mended(world, waiting_loop):
    """The head is refused with the names; with other settings it goes on where it was."""
    other = Rollout("other", "acme", (Wave(targets=("prod-1",)),))
    three = replace(ALL, waves=(CANARIES, STANDARD, replace(PROD, approve=True)))
    world.set_rollouts(three, other)
    world.reload(waiting_loop)
    assert world.forge.describe()["c2"] == ("failure: unusable: A target is in two rollouts")
    waiting_loop.get_people_actions().approve_wave_or_refuse(ANN, "all", 2, 3)
    world.settle(waiting_loop)
    assert world.take_writes() == []
    world.set_rollouts(three)
    world.reload(waiting_loop)
    assert world.take_writes() == ["prod-1 c2"]
    assert world.forge.describe()["c2"].startswith("success")
    assert [row.event for row in world.inbox.messages if not row.fields["target"]] == [
        "held", "failed", "recovered",
    ]  # fmt: skip


def test_a_last_wave_that_is_not_reached_for_a_week_is_told(world):
    """Also where each head is overtaken by the next one, so that none is old."""

    world.set_rollouts(replace(ALL, waves=(replace(CANARIES, soak=2 * DAY), STANDARD, PROD)))
    loop = world.begin()
    for day in range(2, 10):
        world.push(f"c{day}")
        world.wait(loop, DAY, step=6 * 3600)
    told = [row for row in world.inbox.messages if row.fields["rollout"]]
    assert [row.fields["finding"]["summary"] for row in told] == [
        "The rollout has not reached its last wave for 7 days",
        "The rollout has not reached its last wave for 8 days",
    ]
    assert [row.fields["reminder"] for row in told] == [False, True]


def test_a_wave_that_nobody_has_to_approve_any_more_begins(world, waiting_loop):
    """By other settings of the same waves."""
    world.set_rollouts(replace(ALL, waves=(CANARIES, STANDARD, PROD)))
    world.reload(waiting_loop)
    assert world.describe_rollout() == "c2 wave 3 done"


def test_a_wave_whose_targets_are_all_gone_waits_for_nobody(world, waiting_loop):
    """Its rule of controller.yaml leaves the target alone now."""
    world.set_rules(TargetRule("canary-*", mode=Mode.AUTO), TargetRule("eu-*", mode=Mode.AUTO))
    world.reload(waiting_loop)
    assert world.describe_rollout() == "c2 wave 3 done"
    assert world.take_writes() == []


def test_an_approval_stays_while_the_target_does(world):
    """Newer heads at which its row is gone end it where they are wanted, not before."""
    world.set_rules(TargetRule("prod-*", mode=Mode.APPROVE), TargetRule("*", mode=Mode.AUTO))
    loop = start_after_first_head(world)
    name = TargetName("acme", "prod-1")
    world.live["prod-1"] = "by hand"
    world.wait(loop, 30 * MINUTE, step=600)
    (hold,) = world.store.list_holds(name)
    world.pause(ANN, "acme/prod-1", "release", DAY)
    world.approve(ANN, hold.row_digest, target=name)
    world.failing.add("canary-1")
    for commit, wanted, count in (("c2", "c1", 1), ("c3", "c1", 1), ("c4", "c4", 0)):
        if count == 0:
            world.failing.clear()
        world.push(commit, *TARGETS)
        world.repository.inputs[commit]["prod-1"] = "by hand"
        world.follow(loop)
        world.wait(loop, 30 * MINUTE, step=600)
        assert world.list_wanted()["prod-1"] == wanted
        assert len(world.store.list_approvals(name)) == count
    world.resume(ANN, "acme/prod-1")
    world.settle(loop)
    assert not [write for write in world.take_writes() if write.startswith("prod-1")]
