"""Three tenants of one backend, made from a list; their states are there and empty."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.scenarios.conftest import MadeOnce, ServerAtOpenSocket, open_door
from e2e.scenarios.workplace import STORAGE, Server, Workplace

TENANTS = ("acme", "beta", "canary")
ROWS = """\
- {name: acme, tier: gold}
- {name: beta}
- {name: canary}
"""
PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
manifests: [manifests/]
variables: {folder: {}}
targets_from:
  file: tenants.yaml
  defaults: {tier: standard}
  template:
    url: URL
    tenant: ${row.name}
    token: {env: "TOKEN_${row.name}"}
    labels: {tier: "${row.tier}"}
    variables: {folder: "/data/${row.name}"}
"""


def serve_tenants(data: Path, door: socket.socket) -> ServerAtOpenSocket:
    tokens = {f"token-of-{tenant}": tenant for tenant in TENANTS}
    return ServerAtOpenSocket(data, door, tokens=tokens, tenant="acme")


def open_fleet(folder: Path) -> Workplace:
    """The folder `project`, whose commands know the token of every tenant."""
    tokens = {f"TOKEN_{tenant}": f"token-of-{tenant}" for tenant in TENANTS}
    return Workplace(folder / "project", {**tokens, "XDG_CACHE_HOME": str(folder / "cache")})


def declare_fleet(folder: Path, url: str) -> Workplace:
    place = open_fleet(folder)
    place.write("synapse-apply.yaml", PROJECT.replace("URL", url))
    place.write("tenants.yaml", ROWS)
    place.write("manifests/storage.yaml", STORAGE.replace("/data/raw", '"${var.folder}"'))
    return place


@pytest.fixture(scope="session")
def fleet_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeOnce]:
    """What each test has a copy of."""
    with open_door() as door:
        made = MadeOnce(tmp_path_factory.mktemp("fleet"), door)
        with serve_tenants(made.folder / "backend", door):
            place = declare_fleet(made.folder, made.url)
            for tenant in TENANTS:
                place.run("state", "init", "-t", tenant, code=0)
        yield made


@pytest.fixture
def server(tmp_path: Path, fleet_once: MadeOnce) -> Iterator[Server]:
    fleet_once.copy("backend", tmp_path)
    with serve_tenants(tmp_path / "backend", fleet_once.door) as running:
        yield Server(running.url, "token-of-acme")


@pytest.fixture
def fleet(tmp_path: Path, server: Server, fleet_once: MadeOnce) -> Workplace:
    assert server.url == fleet_once.url
    fleet_once.copy("project", tmp_path)
    fleet_once.copy("cache", tmp_path)
    return open_fleet(tmp_path)


@pytest.fixture
def declared(tmp_path: Path) -> Workplace:
    """The same targets without a state, at a url where nobody listens."""
    return declare_fleet(tmp_path, "http://127.0.0.1:9")


def break_target(place: Workplace, tenant: str) -> None:
    """Take a tenant's token away."""
    del place.environ[f"TOKEN_{tenant}"]
