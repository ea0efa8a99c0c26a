from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from controllers.rollout_site import RolloutSite

# By default the same story is told to the rules (tests/unit/controller/rollouts) and to the loop
# (tests/contract/controller/loop).
DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP")
collect_ignore = [] if DEEP else ["test_waves.py"]


@pytest.fixture
def rollout_site(tmp_path: Path) -> Iterator[RolloutSite]:
    """Servers, and a repository of four targets in three waves; the test starts the controller."""
    with RolloutSite(tmp_path) as made:
        yield made
