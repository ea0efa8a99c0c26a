"""What tests of mirrors, workers and stores share."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from contract.controller.store_urls import build_store_url
from contract.controller.upstream import Upstream
from postgres.server import PostgresServer

from synapse_apply.controller.store.controller_store import ControllerStore, SqliteControllerStore
from synapse_apply.controller.store.postgres_store import PostgresControllerStore


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The controller's data folder."""
    return tmp_path / "data"


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ControllerStore]:
    """An empty store in each database; in PostgreSQL in a schema of its own."""
    with open_empty_store(request, tmp_path) as made:
        yield made


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def store_of_module(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControllerStore]:
    """As `store`, for tests that read alone: in PostgreSQL the tables take 40 ms."""
    with open_empty_store(request, tmp_path_factory.mktemp("store")) as made:
        yield made


@contextmanager
def open_empty_store(request: pytest.FixtureRequest, folder: Path) -> Iterator[ControllerStore]:
    """An empty store in the database that is the parameter of a fixture."""
    made: ControllerStore
    if request.param == "sqlite":
        made = SqliteControllerStore(folder)
    else:
        made = PostgresControllerStore(build_store_url(request.getfixturevalue("postgres")))
    with closing(made):
        made.create_or_upgrade()
        assert made.list_configured_sources() == []
        yield made


@pytest.fixture
def run_beside(store: ControllerStore, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Runs a statement on the store's tables as somebody else would."""

    def run_on_file(statement: str) -> None:
        path = request.getfixturevalue("tmp_path") / "controller.db"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)

    def run_on_server(statement: str) -> None:
        assert isinstance(store, PostgresControllerStore)
        server: PostgresServer = request.getfixturevalue("postgres")
        server.run(f"SET search_path TO {store.schema}", statement)

    return run_on_server if store.is_shared else run_on_file
