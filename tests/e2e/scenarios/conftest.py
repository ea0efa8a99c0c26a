"""A backend on a real socket and a project that points at it."""

from __future__ import annotations

import atexit
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import pytest
from e2e.scenarios.workplace import OTHER_TOKEN, QUIET, TOKEN, Server, Workplace, project, sample
from profiles import PROFILE

from synapse_apply import EmbeddedServer
from synapse_apply.emulator.core import listener
from synapse_apply.emulator.core.listener import build_socket_url, open_listening_socket

TENANTS: dict[str, Any] = {"tokens": {TOKEN: "acme", OTHER_TOKEN: "other"}, "tenant": "acme"}


class ServerAtOpenSocket(EmbeddedServer):
    """Listens at a socket that stays open when it ends, so that the next one has the same url."""

    def __init__(self, data: Path, door: socket.socket, **more: Any) -> None:
        super().__init__(data, **more)
        self._door = door

    def __enter__(self) -> Self:
        with patch.object(listener, "open_listening_socket", lambda *_: self._door.dup()):
            return super().__enter__()


def open_door() -> socket.socket:
    """A listening socket at a free port of this machine."""
    return open_listening_socket("127.0.0.1", 0)


@dataclass(frozen=True)
class MadeOnce:
    """The folders `backend`, `project` and `cache` as commands leave them.

    The url of the backend is in two of them: who copies them serves the copy at `door`.
    """

    folder: Path
    door: socket.socket

    @property
    def url(self) -> str:
        return build_socket_url(self.door)

    def copy(self, name: str, to: Path) -> None:
        shutil.copytree(self.folder / name, to / name, symlinks=True)


@cache
def make_once(parent: Path, *steps: Callable[[Workplace], None]) -> MadeOnce:
    """The sample project after these steps, made once in a process of the tests."""
    door = open_door()
    atexit.register(door.close)
    made = MadeOnce(Path(tempfile.mkdtemp(dir=parent)), door)
    environ = {"PROD_TOKEN": TOKEN, "XDG_CACHE_HOME": str(made.folder / "cache")}
    with ServerAtOpenSocket(made.folder / "backend", door, profile=PROFILE, **TENANTS):
        there = Workplace(made.folder / "project", environ)
        there.write("synapse-apply.yaml", project(made.url))
        sample(there)
        for step in steps:
            step(there)
    return made


def make_state(place: Workplace) -> None:
    """The step to the fixture `ready`."""
    place.run("state", "init", code=0)


def apply_all(place: Workplace) -> None:
    """The steps to the fixture `applied`."""
    make_state(place)
    place.apply()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a backend of a profile; what is given else are its switches."""
    with ExitStack() as stack:

        def started(name: str = "backend", profile: str = PROFILE, **switches: str) -> Server:
            running = EmbeddedServer(tmp_path / name, profile=profile, switches=switches, **TENANTS)
            return Server(stack.enter_context(running).url)

        yield started


@pytest.fixture
def copied_once(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> MadeOnce | None:
    """What `server` and `place` are copies of where a test asks for `ready` or `applied`."""
    steps = {"ready": make_state, "applied": apply_all}
    wanted = [step for fixture, step in steps.items() if fixture in request.fixturenames]
    return make_once(tmp_path_factory.getbasetemp(), wanted[-1]) if wanted else None


@pytest.fixture
def server(
    serve: Callable[..., Server], copied_once: MadeOnce | None, tmp_path: Path
) -> Iterator[Server]:
    if copied_once is None:
        yield serve()
        return
    copied_once.copy("backend", tmp_path)
    door = copied_once.door
    with ServerAtOpenSocket(tmp_path / "backend", door, profile=PROFILE, **TENANTS) as running:
        yield Server(running.url)


@pytest.fixture
def place(
    server: Server,
    copied_once: MadeOnce | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Workplace:
    """A project of the sample manifests on target `prod`; without a state, unless one is asked for."""
    made = Workplace(tmp_path / "project", {"PROD_TOKEN": TOKEN})
    if copied_once is not None and copied_once.url == server.url:
        copied_once.copy("project", tmp_path)
        # All copies have one lineage: what is remembered of one must not be held against another.
        copied_once.copy("cache", tmp_path)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setitem(QUIET, "XDG_CACHE_HOME", str(tmp_path / "cache"))
    else:
        made.write("synapse-apply.yaml", project(server.url))
        sample(made)
    return made


@pytest.fixture
def ready(place: Workplace) -> Workplace:
    """The same with an empty state."""
    if not (place.root / ".synapse-apply").exists():
        make_state(place)
    return place


@pytest.fixture
def applied(place: Workplace) -> Workplace:
    """The same with everything applied."""
    if not (place.root / ".synapse-apply").exists():
        apply_all(place)
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
