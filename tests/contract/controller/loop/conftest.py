"""A world with one source, whose head has the targets `dev` and `prod`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.controller.loop.stand_ins import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.repository.push("c1", dev="d1", prod="p1")
    yield world
    world.store.close()
