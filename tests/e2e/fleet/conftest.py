"""Three tenants of one backend, made from a list; their states are there and empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.scenarios.workplace import STORAGE, Server, Workplace

from synapse_apply.emulator.serve import EmbeddedServer

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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    tokens = {f"token-of-{tenant}": tenant for tenant in TENANTS}
    with EmbeddedServer(tmp_path / "backend", tokens=tokens, tenant="acme") as running:
        yield Server(running.url, "token-of-acme")


@pytest.fixture
def fleet(tmp_path: Path, server: Server) -> Workplace:
    place = Workplace(
        tmp_path / "project", {f"TOKEN_{tenant}": f"token-of-{tenant}" for tenant in TENANTS}
    )
    place.write("synapse-apply.yaml", PROJECT.replace("URL", server.url))
    place.write("tenants.yaml", ROWS)
    place.write("manifests/storage.yaml", STORAGE.replace("/data/raw", '"${var.folder}"'))
    for tenant in TENANTS:
        place.run("state", "init", "-t", tenant, code=0)
    return place


def break_target(place: Workplace, tenant: str) -> None:
    """Take a tenant's token away."""
    del place.environ[f"TOKEN_{tenant}"]
