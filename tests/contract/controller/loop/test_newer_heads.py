"""Before an apply the source is asked once more: an older commit is not applied after a newer one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from contract.controller.loop.stand_ins import CHANGES, IN_SYNC, World, plan_of, row

from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import RunOutcome
from synapse_apply.controller.settings import Mode, TargetRule
from synapse_apply.controller.worker.exchange import Order

APPLIED = replace(CHANGES, outcome=RunOutcome.APPLIED)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A controller in mode auto that polls once a day, and looks each ten minutes."""
    world = World(tmp_path, poll=86_400.0, rules=(TargetRule("*", mode=Mode.AUTO),))
    world.repository.push("c1", dev="d1", prod="p1")
    yield world
    world.store.close()


@pytest.fixture
def loop(world: World) -> ControllerLoop:
    """All is in sync at c1; from then on live differs from what c1 says, and is as c2 says."""
    loop = world.begin()

    def look(request: Order) -> RunResult:
        return plan_of(row("plugin/a")) if request.commit == "c1" else IN_SYNC

    for name in ("acme/dev", "acme/prod"):
        world.workers.results[name], world.workers.applied[name] = look, APPLIED
    world.workers.looks.clear()
    return loop


def pass_time(world: World, loop: ControllerLoop, seconds: int = 1_200) -> None:
    for _ in range(0, seconds, 60):
        world.settle(loop, after=60)


def list_applied(world: World) -> list[tuple[str, str]]:
    return sorted({(request.target.target, request.commit) for request in world.workers.applies})


def list_commits_looked_at(world: World, target: str) -> list[str]:
    looks = [request for request in world.workers.looks if request.target.target == target]
    return list(dict.fromkeys(request.commit for request in looks))


def test_a_newer_commit_that_no_poll_saw_is_looked_at_and_the_older_not_applied(world, loop):
    """Somebody may have applied it by hand: what differs from the older one is their doing."""
    world.repository.push("c2", dev="d2", prod="p2")
    pass_time(world, loop)
    assert list_applied(world) == []
    assert list_commits_looked_at(world, "prod") == ["c1", "c2"]
    assert world.get_target("prod").wanted_commit == "c2"
    assert 'apply postponed target=acme/prod reason="a newer commit exists"' in world.log.getvalue()
    assert [message for message in world.inbox.describe() if "drift" in message] == []


def test_a_commit_that_is_the_same_for_a_target_keeps_it_from_nothing(world, loop):
    """In a repository of many targets others push all the time."""
    world.repository.push("c2", dev="d2")
    pass_time(world, loop, 660)
    assert list_applied(world) == [("prod", "c1")]


def test_a_commit_that_nobody_can_apply_stops_nothing(world, loop):
    """Its project file cannot be used."""
    world.repository.push("c2", dev="d2", prod="p2")
    world.repository.broken.add("c2")
    pass_time(world, loop)
    assert list_applied(world) == [("dev", "c1"), ("prod", "c1")]


def test_a_commit_whose_signature_cannot_be_verified_stops_nothing(world, loop):
    """Whoever may push, and has no key, could hold up each apply for ever."""
    world.repository.unverifiable.add("c2")
    world.repository.push("c2", dev="d2", prod="p2")
    pass_time(world, loop)
    assert list_applied(world) == [("dev", "c1"), ("prod", "c1")]
