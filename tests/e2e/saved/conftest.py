"""The scenarios' backend and project, with a second plugin and a plan in a file."""

from __future__ import annotations

import pytest
from e2e.cli.conftest import project
from e2e.scenarios.conftest import (
    MadeOnce,
    applied,
    apply_all,
    make,
    make_once,
    make_state,
    place,
    ready,
    serve,
    server,
)
from e2e.scenarios.workplace import PLUGIN, Workplace

__all__ = ["applied", "make", "place", "project", "ready", "serve", "server"]

SAM = PLUGIN.replace("yolo", "sam").replace("Yolo", "Sam")


def apply_sam(place: Workplace) -> None:
    """The step to the fixture `two`."""
    place.write("manifests/sam.yaml", SAM)
    place.apply()


def plan_description(place: Workplace) -> None:
    """The step to the fixture `planned`."""
    place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    place.plan("--out", "next", code=0)


@pytest.fixture
def copied_once(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> MadeOnce | None:
    """What `server` and `place` are copies of: all steps to the fixtures a test asks for."""
    steps = {
        "ready": make_state,
        "applied": apply_all,
        "two": apply_sam,
        "planned": plan_description,
    }
    wanted = [step for fixture, step in steps.items() if fixture in request.fixturenames]
    return make_once(tmp_path_factory.getbasetemp(), *wanted) if wanted else None


@pytest.fixture
def two(applied: Workplace) -> Workplace:
    """Plugins yolo and sam, a release and a storage, all applied; sam has id 2."""
    if not (applied.root / "manifests/sam.yaml").exists():
        apply_sam(applied)
    return applied


@pytest.fixture
def planned(two: Workplace) -> Workplace:
    """The same with a new description of yolo planned in the file `next`."""
    if not (two.root / "next").exists():
        plan_description(two)
    return two
