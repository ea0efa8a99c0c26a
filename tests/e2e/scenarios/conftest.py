"""A backend on a real socket and a project that points at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from e2e.scenarios.workplace import OTHER_TOKEN, TOKEN, Server, Workplace, project, sample
from profiles import PROFILE

from synapse_apply.emulator.serve import EmbeddedServer


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a backend of a profile; what is given else are its switches."""
    with ExitStack() as stack:

        def started(name: str = "backend", profile: str = PROFILE, **switches: str) -> Server:
            tokens = {TOKEN: "acme", OTHER_TOKEN: "other"}
            running = EmbeddedServer(
                tmp_path / name, tokens=tokens, tenant="acme", profile=profile, switches=switches
            )
            return Server(stack.enter_context(running).url)

        yield started


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve()


@pytest.fixture
def place(tmp_path: Path, server: Server) -> Workplace:
    """A project of the sample manifests on target `prod`; no state yet."""
    made = Workplace(tmp_path / "project", {"PROD_TOKEN": TOKEN})
    made.write("synapse-apply.yaml", project(server.url))
    sample(made)
    return made


@pytest.fixture
def applied(place: Workplace) -> Workplace:
    """The same with everything applied."""
    place.run("state", "init", code=0)
    place.apply()
    return place


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Workplace]:
    """Makes a project on a server; more are settings of its target."""

    def made(server: Server, name: str = "project", **settings: Any) -> Workplace:
        there = Workplace(tmp_path / name, {"PROD_TOKEN": TOKEN})
        there.write("synapse-apply.yaml", project(server.url, **settings))
        sample(there)
        return there

    return made


@pytest.fixture
def bare(tmp_path: Path) -> Callable[..., Workplace]:
    """A project on a server, without manifests and state."""

    def made(server: Server, name: str = "project") -> Workplace:
        place = Workplace(tmp_path / name, {"PROD_TOKEN": TOKEN})
        place.write("synapse-apply.yaml", project(server.url))
        (place.root / "manifests").mkdir()
        return place

    return made
