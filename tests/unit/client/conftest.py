"""A scripted server, and a client of it whose waits take no time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from unit.client.scripted import SILENCE, ScriptedServer

from synapse_apply import BackendClient


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.stop()


@pytest.fixture
def waits() -> list[float]:
    """The seconds the client meant to sleep."""
    return []


@pytest.fixture
def connect(waits: list[float]) -> Iterator[Callable[..., BackendClient]]:
    """Makes clients with short timeouts, no real sleep and no jitter."""
    made: list[BackendClient] = []

    def build(
        server: ScriptedServer | str, token: str | None = "tok-1", **options: Any
    ) -> BackendClient:
        url = server if isinstance(server, str) else server.url
        settings = {
            "read_timeout": SILENCE,
            "sleep": waits.append,
            "jitter": lambda: 1.0,
            **options,
        }
        made.append(BackendClient(url, token, **settings))
        return made[-1]

    yield build
    for client in made:
        client.close()


@pytest.fixture
def client(server: ScriptedServer, connect: Callable[..., BackendClient]) -> BackendClient:
    return connect(server)
