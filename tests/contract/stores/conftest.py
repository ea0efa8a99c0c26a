"""One store of each sort, locked or not."""

from __future__ import annotations

import pytest
from contract.stores.samples import BINDING, LINEAGE

from synapse_apply.stores.memory import MemoryStore
from synapse_apply.stores.sqlite import open_sqlite


@pytest.fixture(params=["memory", "sqlite"])
def empty(request, tmp_path):
    """A store without a state."""
    store = MemoryStore() if request.param == "memory" else open_sqlite(tmp_path / "state" / "t.db")
    yield store
    store.close()


@pytest.fixture
def store(empty):
    """A store with an empty state."""
    empty.init(BINDING, LINEAGE)
    return empty


@pytest.fixture
def locked(store):
    """A store with an empty state, held for writing."""
    with store.lock("test"):
        yield store


@pytest.fixture
def path(tmp_path):
    """Where a SQLite state is to be."""
    return tmp_path / ".synapse-apply" / "state" / "prod.db"


@pytest.fixture
def sqlite(path):
    """A SQLite store with an empty state."""
    store = open_sqlite(path)
    store.init(BINDING, LINEAGE)
    yield store
    store.close()
