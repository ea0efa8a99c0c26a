"""One embedded backend for each module of laws; every example begins with it empty."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from laws.bench import TENANT, TOKEN, Project, Server

from synapse_apply import EmbeddedServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A backend of the module's own."""
    data = tmp_path_factory.mktemp("backend")
    with EmbeddedServer(data, token=TOKEN, tenant=TENANT, job_seconds=3600) as running:
        admin = Server(running.url)
        yield admin
        admin.close()


@pytest.fixture
def project(server: Server, tmp_path: Path) -> Callable[..., Project]:
    """A new project against the emptied server, with these switches."""
    numbers = itertools.count()

    def made(switches: Mapping[str, str], api: str = "v1") -> Project:
        server.reset(switches)
        root = tmp_path / str(next(numbers))
        root.mkdir()
        return Project.make(root, server, api)

    return made
