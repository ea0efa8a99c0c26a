"""What tests of mirrors, workers and stores share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from contract.controller.upstream import Upstream

from synapse_apply.controller.store.controller_store import SqliteControllerStore


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The controller's data folder."""
    return tmp_path / "data"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteControllerStore]:
    with closing(SqliteControllerStore(tmp_path)) as store:
        store.create_or_upgrade()
        yield store
