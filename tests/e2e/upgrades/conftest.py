"""The earlier version, unpacked once a test process."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e.upgrades.older import install_older


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python that has the earlier version."""
    return install_older(tmp_path_factory.mktemp("older"))
