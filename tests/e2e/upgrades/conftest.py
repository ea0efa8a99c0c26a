"""The earlier version, unpacked once."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e.upgrades.older import install_older


@pytest.fixture(scope="session")
def older() -> Path:
    """The Python that has the earlier version."""
    return install_older()
