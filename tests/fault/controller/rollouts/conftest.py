from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from controllers.rollout_site import RolloutSite


@pytest.fixture
def rollout_site(tmp_path: Path) -> Iterator[RolloutSite]:
    """Servers, and a repository of four targets in three waves; the test starts the controller."""
    with RolloutSite(tmp_path) as made:
        yield made
