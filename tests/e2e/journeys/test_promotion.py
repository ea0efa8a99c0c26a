"""One change in Git goes through dev, staging and prod, each with a backend and values of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.revisions.conftest import Repository, repository
from e2e.scenarios.workplace import CONFIG, TOKEN, Server, Workplace

TARGETS = ("dev", "staging", "prod")
PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec:
  from: ./plugins/yolo
  author: Vision
  configuration: {parameters: {threshold: {type: float, default: "${var.threshold}"}}}
"""
RELEASE = """\
apiVersion: synapse-apply/v1
kind: Release
spec:
  plugin: yolo
  source: ./plugins/yolo
  verify: {parameters: {emulator: {seconds: 0.05}}, poll_interval: 0.02}
"""
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: raw}
spec:
  name: Raw
  provider: file_system
  category: internal
  configuration: {base_path: "/${var.root}"}
"""


@pytest.fixture
def line(serve: Callable[..., Server], tmp_path: Path) -> tuple[Repository, dict[str, Server]]:
    """A repository and three empty backends; every target but the first wants the one before."""
    servers = {name: serve(name) for name in TARGETS}
    place = Workplace(tmp_path / "project", {f"{name.upper()}_TOKEN": TOKEN for name in TARGETS})
    targets = {
        name: {
            "url": server.url, "tenant": "acme", "token": {"env": f"{name.upper()}_TOKEN"},
            "variables": {"root": name, "threshold": 0.5},
        }
        for name, server in servers.items()
    }  # fmt: skip
    targets["staging"]["require_verified"] = ["dev"]
    targets["prod"] |= {
        "require_verified": ["staging"], "variables": {"root": "prod", "threshold": 0.8},
        "overlays": {"plugin/yolo": {"spec": {"author": "Platform"}}},
    }  # fmt: skip
    head = {"apiVersion": "synapse-apply/v1", "kind": "Project"}
    variables = {"root": {}, "threshold": {"type": "number"}}
    place.write(
        "synapse-apply.yaml", json.dumps({**head, "variables": variables, "targets": targets})
    )
    place.write("manifests/all.yaml", PLUGIN, RELEASE, STORAGE)
    place.write("plugins/yolo/config.yaml", CONFIG)
    place.write("plugins/yolo/plugin/main.py", "print('yolo')\n")
    for name in TARGETS:
        place.run("state", "init", "-t", name, code=0)
    return repository(place), servers


def releases(servers: dict[str, Server]) -> dict[str, list[str]]:
    return {
        name: [str(one["body"]["version"]) for one in server.objects("release")]
        for name, server in servers.items()
    }


def values(server: Server) -> tuple[float, str, str]:
    """What differs: the threshold's default, the author, where the storage is."""
    assert server.counts == (1, 1, 1)
    (plugin,) = (one["body"] for one in server.objects("plugin"))
    (storage,) = (one["body"] for one in server.objects("storage"))
    threshold = plugin["configuration"]["parameters"]["threshold"]["default"]
    return threshold, plugin["author"], storage["configuration"]["base_path"]


def promote(place: Workplace, *names: str) -> None:
    for name in names:
        assert "Apply complete!" in place.apply("-t", name).out
        assert "No changes." in place.plan("-t", name, "--detailed-exitcode", code=0).out


def test_from_dev_to_prod(line: tuple[Repository, dict[str, Server]]) -> None:
    """Nobody overtakes; each target has its own values; what is verified is what arrives."""
    repo, servers = line
    place = repo.place
    early = place.apply("-t", "prod", code=5).out
    assert (
        "! release/yolo@1.0.0 cannot be created: target staging must have verified it first, "
        "but it is not released there" in early
    )
    assert "Way out: `synapse-apply apply -t staging`" in early
    assert servers["prod"].counts == (1, 0, 1)  # what needs no proof is there
    promote(place, *TARGETS)
    assert {name: values(server) for name, server in servers.items()} == {
        "dev": (0.5, "Vision", "/dev"),
        "staging": (0.5, "Vision", "/staging"),
        "prod": (0.8, "Platform", "/prod"),
    }

    # The next version. Prod's plan is made and reviewed while staging still runs.
    place.edit("plugins/yolo/plugin/main.py", "yolo", "yolo 2")
    place.run("bump", "yolo", "minor", "-m", "Second", code=0)
    repo.commit("bump")
    promote(place, "dev", "staging")
    assert releases(servers)["prod"] == ["1.0.0"]
    place.plan("-t", "prod", "--out", "prod.plan", code=0)

    # Somebody's late edit would publish other bytes than those that were verified.
    place.edit("plugins/yolo/plugin/main.py", "yolo 2", "yolo 3")
    late = place.apply("-t", "prod", code=5).out
    assert "! release/yolo@1.1.0 cannot be created" in late
    assert "other content" in late, late
    stale = place.run("apply", "prod.plan", "-t", "prod", code=4).text
    assert "! release/yolo@1.1.0 cannot be created" in stale, stale
    assert releases(servers)["prod"] == ["1.0.0"]
    repo.git("checkout", "-q", "--", "plugins")
    ran = place.run("apply", "prod.plan", "-t", "prod", code=0).out
    assert "Apply complete! Resources: 1 added, 0 changed, 0 destroyed." in ran
    assert releases(servers) == {name: ["1.0.0", "1.1.0"] for name in TARGETS}
    for name in TARGETS:
        assert "No changes." in place.plan("-t", name, "--detailed-exitcode", code=0).out
