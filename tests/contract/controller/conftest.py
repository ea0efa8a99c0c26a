"""What tests of mirrors and workers share."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract.controller.upstream import Upstream


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The controller's data folder."""
    return tmp_path / "data"
