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

from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.ports import LookRequest
from synapse_apply.controller.rows import WaveEnd
from synapse_apply.controller.settings import MINUTE


@pytest.fixture
def world(rollout_world: RolloutWorld) -> RolloutWorld:
    return rollout_world


def test_each_wave_begins_when_the_one_before_has_shown(world: RolloutWorld) -> None:
    """Nothing of a later wave is written or even wanted before that."""
    loop = start_after_first_head(world)
    world.push("c2")
    world.follow(loop)
    writes = world.take_writes()
    assert writes[0] == "canary-1 c2"
    assert sorted(writes[1:3]) == ["eu-1 c2", "eu-2 c2"]
    assert writes[3:] == ["prod-1 c2"]
    assert world.describe_rollout() == "c2 wave 3 done"
    assert [wave.end for wave in world.list_waves()] == [WaveEnd.EVIDENCE] * 3
    assert world.forge.describe()["c2"] == "success: applied: 4 changes"


def test_a_new_source_is_made_in_waves_too(new_rollout_world: RolloutWorld) -> None:
    """A target of a later wave is not looked at before a revision is wanted of it."""
    world = new_rollout_world
    world.failing.add("canary-1")
    loop = world.build_loop()
    world.start(loop)
    assert {look.target.target for look in world.workers.looks} == {"canary-1"}
    assert world.list_wanted() == {"canary-1": "c1", "eu-1": "", "eu-2": "", "prod-1": ""}
    world.failing.clear()
    loop.get_rollout_actions().resume_rollout_or_refuse(ANN, "all", 1)
    world.follow(loop)
    assert sorted(world.take_writes()) == [f"{name} c1" for name in TARGETS]


def test_a_soak_counts_from_look_to_look_and_the_next_wave_waits(world: RolloutWorld) -> None:
    """It takes no longer than the soak: a look is due at its end."""
    loop = start_after_first_head(world, replace(CANARIES, soak=25 * MINUTE), STANDARD, PROD)
    world.push("c2")
    world.follow(loop)
    assert world.take_writes() == ["canary-1 c2"]
    good_since = world.get_evidence("canary-1").good_since
    world.wait(loop, 23 * MINUTE)
    assert world.take_writes() == []
    assert world.list_wanted()["eu-1"] == "c1"
    assert "waiting" in world.forge.describe()["c2"] or "soaking" in world.forge.describe()["c2"]
    world.wait(loop, 3 * MINUTE)
    assert len(world.take_writes()) == 3
    closed_at = world.list_waves()[0].closed_at
    assert 25 * MINUTE <= closed_at - good_since <= 26 * MINUTE + 1


def test_a_look_that_began_before_closes_no_wave(world: RolloutWorld) -> None:
    """It saw the objects as they were with the commit before, and ends well after the new one."""
    loop = start_after_first_head(world)
    moved: list[str] = []

    def push_meanwhile(request: LookRequest) -> None:
        if request.target.target == "canary-1" and not moved:
            moved.append("c2")
            world.push("c2")
            world.workers.gate.clear()

    # Its interval is over: it is looked at with c1, and in the middle of that comes c2.
    world.clock.advance(11 * MINUTE)
    world.on_look = push_meanwhile
    world.failing.add("canary-1 c2")
    world.workers.gate.set()
    _go_rounds_with_gate(world, loop)
    assert world.list_wanted() == {"canary-1": "c2", "eu-1": "c1", "eu-2": "c1", "prod-1": "c1"}
    assert world.get_evidence("canary-1").good_since == 0.0
    assert world.take_writes() == []
    assert world.describe_rollout() == "c2 wave 1 stopped"


def _go_rounds_with_gate(world: RolloutWorld, loop: ControllerLoop) -> None:
    """Rounds in which looks end late: the source is followed while they run."""
    for _ in range(3):
        loop._go_round()
    world.clock.advance(MINUTE)
    world.workers.gate.set()
    world.follow(loop)


def test_a_new_head_in_mid_wave_begins_at_the_first_wave(world: RolloutWorld) -> None:
    """What was shown of the head before counts for nothing that the new one changes."""
    loop = start_after_first_head(
        world, replace(CANARIES, soak=5 * MINUTE), replace(STANDARD, soak=60 * MINUTE), PROD
    )
    world.push("c2")
    world.follow(loop)
    world.wait(loop, 10 * MINUTE)
    assert world.describe_rollout() == "c2 wave 2 running"
    world.take_writes()
    world.push("c3")
    world.follow(loop)
    assert world.describe_rollout() == "c3 wave 1 running"
    assert world.list_wanted() == {"canary-1": "c3", "eu-1": "c2", "eu-2": "c2", "prod-1": "c1"}
    world.wait(loop, 10 * MINUTE)
    assert sorted(world.take_writes()) == ["canary-1 c3", "eu-1 c3", "eu-2 c3"]
    assert world.forge.describe()["c2"] == "success: overtaken by c3"


def test_a_head_that_concerns_no_target_is_closed_at_once(world: RolloutWorld) -> None:
    """Also waves that have to be approved, with a long soak: nobody is asked, nothing is looked at."""
    loop = start_after_first_head(
        world, replace(CANARIES, soak=30 * MINUTE), STANDARD, replace(PROD, approve=True)
    )
    world.push("c2", "nothing-of-these")
    del world.repository.inputs["c2"]["nothing-of-these"]
    looks = len(world.workers.looks)
    world.follow(loop)
    assert world.describe_rollout() == "c2 wave 3 done"
    assert len(world.workers.looks) == looks
    assert set(world.list_wanted().values()) == {"c2"}
    assert world.forge.describe()["c2"] == "success: no target is concerned"


def test_too_many_failures_stop_it_and_a_fix_goes_through(world: RolloutWorld) -> None:
    """Nothing of later waves is touched; the next commit begins anew, and people are told once."""
    loop = start_after_first_head(world, CANARIES, replace(STANDARD, max_failures=1), PROD)
    world.push("c2")
    world.failing.update(("eu-1", "eu-2"))
    world.follow(loop)
    assert world.describe_rollout() == "c2 wave 2 stopped"
    assert world.rollout.state_reason == "2 targets of wave 2 failed: eu-1, eu-2"
    assert world.forge.describe()["c2"].startswith("failure: ")
    world.wait(loop, 120 * MINUTE, step=600)
    assert world.take_writes() == ["canary-1 c2"]
    told = [row for row in world.inbox.messages if row.fields["rollout"]]
    assert [(row.event, row.fields["rollout"]["wave"]) for row in told] == [("failed", 2)]
    world.failing.clear()
    world.push("c3")
    world.follow(loop)
    assert world.describe_rollout() == "c3 wave 3 done"
    told = [row.event for row in world.inbox.messages if row.fields["rollout"]]
    assert told == ["failed", "recovered"]


def test_one_failure_fewer_lets_it_wait(world: RolloutWorld) -> None:
    """The wave stays open for what fails, and goes on when that is mended."""
    loop = start_after_first_head(world, CANARIES, replace(STANDARD, max_failures=1), PROD)
    world.push("c2")
    world.failing.add("eu-1")
    world.follow(loop)
    assert world.describe_rollout() == "c2 wave 2 running"
    assert sorted(world.take_writes()) == ["canary-1 c2", "eu-2 c2"]
    world.failing.clear()
    world.wait(loop, 5 * MINUTE)
    assert world.describe_rollout() == "c2 wave 3 done"


# Heads that queue


def test_a_running_one_is_finished_first(world: RolloutWorld) -> None:
    """Of those that wait only the newest begins."""

    loop = start_after_first_head(
        world, replace(CANARIES, soak=20 * MINUTE), STANDARD, PROD, new_head="queue"
    )
    for commit in ("c2", "c3", "c4"):
        world.push(commit)
        world.follow(loop)
    assert world.describe_rollout() == "c2 wave 1 running"
    assert "after c2: wave 1 of 3" in world.forge.describe()["c4"]
    assert world.forge.describe()["c2"].startswith("pending: overtaken by c3; wave 1 of 3")
    assert world.forge.describe()["c3"] == "success: overtaken by c4"
    world.wait(loop, 23 * MINUTE)
    assert world.forge.describe()["c2"] == "success: overtaken by c3"
    assert world.describe_rollout() == "c4 wave 1 running"
    world.wait(loop, 23 * MINUTE)
    assert world.describe_rollout() == "c4 wave 3 done"
    assert sorted(world.take_writes()) == sorted(
        f"{name} {commit}" for commit in ("c2", "c4") for name in TARGETS
    )
    assert world.forge.describe()["c4"].startswith("success")


def test_a_waiting_head_begins_when_the_running_one_is_aborted(world: RolloutWorld) -> None:
    loop = start_after_first_head(
        world, CANARIES, replace(STANDARD, approve=True), PROD, new_head="queue"
    )
    world.push("c2")
    world.follow(loop)
    world.push("c3")
    world.follow(loop)
    assert world.describe_rollout() == "c2 wave 2 waiting for approval"
    loop.get_rollout_actions().abort_rollout_or_refuse(ANN, "all", 2, "c3 is better")
    world.follow(loop)
    assert world.describe_rollout() == "c3 wave 2 waiting for approval"
    assert world.take_writes() == ["canary-1 c2", "canary-1 c3"]
    aborted = world.forge.describe()["c2"]
    assert aborted == "failure: aborted in wave 2 of 3 by proxy:ann: c3 is better"


def test_a_waiting_head_begins_when_the_running_one_stops(world: RolloutWorld) -> None:
    """What waits may be what mends it."""
    loop = start_after_first_head(
        world, replace(CANARIES, soak=20 * MINUTE), STANDARD, PROD, new_head="queue"
    )
    world.push("c2")
    world.follow(loop)
    world.push("c3")
    world.follow(loop)
    world.failing.add("canary-1 c2")
    world.live["canary-1"] = "by hand"
    world.wait(loop, 60 * MINUTE)
    assert world.describe_rollout() == "c3 wave 3 done"
    assert world.take_writes()[:2] == ["canary-1 c2", "canary-1 c3"]
