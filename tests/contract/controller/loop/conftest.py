"""Worlds with one source: with the targets `dev` and `prod`, and with targets in three waves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from contract.controller.loop.rollout_world import (
    CANARIES,
    PROD,
    STANDARD,
    TARGETS,
    RolloutWorld,
    start_after_first_head,
)
from contract.controller.loop.stand_ins import World

from synapse_apply.controller.loop.driver import ControllerLoop


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.repository.push("c1", dev="d1", prod="p1")
    yield world
    world.store.close()


@pytest.fixture
def rollout_world(tmp_path: Path) -> Iterator[RolloutWorld]:
    """All targets are live with the first head, c1."""
    world = RolloutWorld(tmp_path)
    world.push("c1")
    world.live = dict.fromkeys(TARGETS, "c1")
    yield world
    world.store.close()


@pytest.fixture
def new_rollout_world(tmp_path: Path) -> Iterator[RolloutWorld]:
    """Nothing is live yet of the first head."""
    (tmp_path / "new").mkdir()
    world = RolloutWorld(tmp_path / "new")
    world.push("c1")
    yield world
    world.store.close()


@pytest.fixture
def waiting_loop(rollout_world: RolloutWorld) -> ControllerLoop:
    """The rollout of c2 waits for the approval of its last wave."""
    loop = start_after_first_head(rollout_world, CANARIES, STANDARD, replace(PROD, approve=True))
    rollout_world.push("c2")
    rollout_world.follow(loop)
    assert rollout_world.describe_rollout() == "c2 wave 3 waiting for approval"
    assert len(rollout_world.take_writes()) == 3
    return loop
