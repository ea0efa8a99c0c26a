"""How rollouts bring heads to their targets, with a store and a clock that is moved by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from contract.controller.loop.rollout_world import (
    ANN,
    CANARIES,
    PROD,
    STANDARD,
    TARGETS,
    RolloutWorld,
    start_after_first_head,
)


@pytest.fixture
def world(rollout_world: RolloutWorld) -> RolloutWorld:
    return rollout_world


def test_a_new_source_is_made_in_waves_too(new_rollout_world):
    """A target of a later wave is not looked at before a revision is wanted of it."""
    world = new_rollout_world
    world.failing.add("canary-1")
    loop = world.begin()
    assert {look.target.target for look in world.workers.looks} == {"canary-1"}
    assert world.list_wanted() == {"canary-1": "c1", "eu-1": "", "eu-2": "", "prod-1": ""}
    world.failing.clear()
    loop.get_people_actions().resume_rollout_or_refuse(ANN, "all", 1)
    world.follow(loop)
    assert sorted(world.take_writes()) == [f"{name} c1" for name in TARGETS]


def test_too_many_failures_stop_it_and_a_fix_goes_through(world):
    """Nothing of later waves is touched; the next commit begins anew, and people are told once."""
    loop = start_after_first_head(world, CANARIES, replace(STANDARD, max_failures=1), PROD)
    world.push("c2")
    world.failing.update(("eu-1", "eu-2"))
    world.follow(loop)
    assert world.describe_rollout() == "c2 wave 2 stopped"
    assert world.rollout.state_reason == "2 targets of wave 2 failed: eu-1, eu-2"
    assert world.forge.describe()["c2"].startswith("failure: ")
    world.wait(loop, 120 * 60, step=600)
    assert world.take_writes() == ["canary-1 c2"]
    told = [row for row in world.inbox.messages if row.fields["rollout"]]
    assert [(row.event, row.fields["rollout"]["wave"]) for row in told] == [("failed", 2)]
    world.failing.clear()
    world.push("c3")
    world.follow(loop)
    assert world.describe_rollout() == "c3 wave 3 done"
    told = [row.event for row in world.inbox.messages if row.fields["rollout"]]
    assert told == ["failed", "recovered"]


# Heads that queue


def test_a_waiting_head_begins_when_the_running_one_is_aborted(world):
    loop = start_after_first_head(
        world, CANARIES, replace(STANDARD, approve=True), PROD, new_head="queue"
    )
    world.push("c2")
    world.follow(loop)
    world.push("c3")
    world.follow(loop)
    assert world.describe_rollout() == "c2 wave 2 waiting for approval"
    loop.get_people_actions().abort_rollout_or_refuse(ANN, "all", 2, "c3 is better")
    world.follow(loop)
    assert world.describe_rollout() == "c3 wave 2 waiting for approval"
    assert world.take_writes() == ["canary-1 c2", "canary-1 c3"]
    aborted = world.forge.describe()["c2"]
    assert aborted == "failure: aborted in wave 2 of 3 by proxy:ann: c3 is better"


def test_a_waiting_head_begins_when_the_running_one_stops(world):
    """What waits may be what mends it."""
    loop = start_after_first_head(
        world, replace(CANARIES, soak=20 * 60), STANDARD, PROD, new_head="queue"
    )
    world.push("c2")
    world.follow(loop)
    world.push("c3")
    world.follow(loop)
    world.failing.add("canary-1 c2")
    world.live["canary-1"] = "by hand"
    world.wait(loop, 60 * 60)
    assert world.describe_rollout() == "c3 wave 3 done"
    assert world.take_writes()[:2] == ["canary-1 c2", "canary-1 c3"]
