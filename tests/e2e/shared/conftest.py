"""The scenarios' project and backend, its state in a database of its own."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from e2e.scenarios.conftest import copied_once, place, serve, server
from e2e.scenarios.workplace import Server, Workplace, project, sample
from postgres.server import PostgresServer

__all__ = ["copied_once", "place", "serve", "server"]


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """The url of a state, with its password; nothing is there yet."""
    return postgres.url(schema=f"state_{uuid4().hex}")


@pytest.fixture
def team(place: Workplace, server: Server, database: str, tmp_path: Path) -> Workplace:
    """A project whose target keeps its state in PostgreSQL, at the machine of one of the team."""
    home = {"HOME": str(tmp_path / "alice"), "XDG_CONFIG_HOME": ""}
    place.environ |= {"STATE_URL": database, **home}
    (tmp_path / "alice").mkdir()
    write_shared_project(place, server)
    return place


def write_shared_project(place: Workplace, server: Server, **state: object) -> None:
    """The project file with a comment, which no edit may lose; `state` are more settings."""
    text = project(server.url, state={"url": {"env": "STATE_URL"}, **state}, settle_after=1)
    place.write("synapse-apply.yaml", f"# ours\n{text}\n")
    sample(place)
