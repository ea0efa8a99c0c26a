"""The scenarios' backend and project, with a second plugin and a plan in a file."""

from __future__ import annotations

import pytest
from e2e.cli.conftest import project
from e2e.scenarios.conftest import applied, copied_once, make, place, serve, server
from e2e.scenarios.workplace import PLUGIN, Workplace

__all__ = ["applied", "copied_once", "make", "place", "project", "serve", "server"]

SAM = PLUGIN.replace("yolo", "sam").replace("Yolo", "Sam")


@pytest.fixture
def two(applied: Workplace) -> Workplace:
    """Plugins yolo and sam, a release and a storage, all applied; sam has id 2."""
    applied.write("manifests/sam.yaml", SAM)
    applied.apply()
    return applied


@pytest.fixture
def planned(two: Workplace) -> Workplace:
    """The same with a new description of yolo planned in the file `next`."""
    two.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    two.plan("--out", "next", code=0)
    return two
