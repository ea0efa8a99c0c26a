"""A project on a stand-in of the vendor's backend, and commands in it as a user types them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from contract.vendor.guesses import Guesses
from contract.vendor.packages import config_of, write_package
from contract.vendor.standin import StandIn, run_stand_in
from contract.vendor.world import TOKEN
from e2e.scenarios.workplace import Workplace, project
from e2e.vendor.manifests import PLUGIN, RELEASE, STORAGE


@pytest.fixture
def serve() -> Iterator[Callable[..., StandIn]]:
    """Starts a backend; the arguments are guesses that differ from the likeliest."""
    with ExitStack() as stack:
        yield lambda **guesses: stack.enter_context(run_stand_in(Guesses(**guesses)))


@pytest.fixture
def backend(serve: Callable[..., StandIn]) -> StandIn:
    return serve()


@pytest.fixture
def create_project(tmp_path: Path) -> Callable[..., Workplace]:
    """Makes a project on a backend, its state empty; more are settings of its target."""

    def create_here(backend: StandIn, name: str = "project", **settings: Any) -> Workplace:
        place = Workplace(tmp_path / name, {"PROD_TOKEN": TOKEN})
        place.write("synapse-apply.yaml", project(backend.url, **{"settle_after": 1, **settings}))
        place.write("manifests/plugin.yaml", PLUGIN, RELEASE)
        place.write("manifests/storage.yaml", STORAGE)
        write_package(place.root / "plugins" / "yolo", config_of())
        place.run("state", "init", code=0)
        return place

    return create_here


@pytest.fixture
def place(backend: StandIn, create_project: Callable[..., Workplace]) -> Workplace:
    return create_project(backend)


@pytest.fixture
def applied(place: Workplace) -> Workplace:
    """The same with everything applied."""
    place.apply()
    return place
