"""The state key of a target is in Vault, where the project file names it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.scenarios.workplace import TOKEN, Server, Workplace, project
from vault import jwts
from vault.stand_in import StandInVault

KEY = base64.b64encode(b"k" * 32).decode()
REFERENCE = {"vault": {"path": "kv/state", "key": "prod"}}


@pytest.fixture
def vault() -> Iterator[StandInVault]:
    with StandInVault() as made:
        made.put("kv/state", {"prod": KEY, "free": "free"})
        made.make_role("deploy", "kv/state")
        yield made


@pytest.fixture
def place(tmp_path: Path, vault: StandInVault, server: Server) -> Workplace:
    """A project whose manifests may read all that Vault has, but for what the project names."""
    made = Workplace(tmp_path / "project", {"PROD_TOKEN": TOKEN, "JOB_JWT": jwts.sign()})
    login = {"role": "deploy", "token": {"env": "JOB_JWT"}}
    block = {"address": vault.url, "jwt": login, "allow": ["kv/*"]}
    made.write("synapse-apply.yaml", project(server.url, vault=block, state={"key": REFERENCE}))
    made.write("manifests/storage.yaml", storage(REFERENCE["vault"] | {"key": "free"}))
    return made


def storage(reference: dict[str, Any]) -> str:
    configuration = {
        "bucket_name": "b",
        "access_key_id": {"valueFrom": {"vault": {"path": "kv/state", "key": "free"}}},
        "secret_access_key": {"valueFrom": {"vault": reference}},
    }
    spec = {"name": "S", "provider": "amazon_s3", "category": "external"}
    return json.dumps(
        {
            "apiVersion": "synapse-apply/v1",
            "kind": "Storage",
            "metadata": {"name": "s"},
            "spec": {**spec, "configuration": configuration},
        }
    )


def test_the_key_is_read_there(place: Workplace, vault: StandInVault) -> None:
    """No file is made; where Vault does not answer the plan says why, and a variable stands in."""
    place.run("state", "init", code=0)
    assert list(place.root.rglob("*.key")) == []
    place.apply()
    rows = {row["check"]: row for row in place.run("doctor", "--json", code=0).document["checks"]}
    assert "from kv/state" in rows["key"]["summary"]
    place.unchanged()
    vault.sealed = True
    told = " ".join(place.plan(code=0).text.split())
    assert "The state key that the project file names is missing" in told
    assert f"targets.prod.state.key: the Vault at {vault.url} is sealed" in told
    place.environ["SYNAPSE_APPLY_STATE_KEY"] = KEY
    assert "file names is missing" not in place.plan(code=0).text


@pytest.mark.parametrize(
    "reference",
    [
        {"path": "kv/state", "key": "prod"},
        {"path": "kv/state", "key": "prod", "version": 1},
    ],
)
def test_no_manifest_reads_it(place: Workplace, reference: dict[str, Any]) -> None:
    """Whatever `allow` of Vault lets manifests read."""
    place.run("validate", code=0)
    place.write("manifests/storage.yaml", storage(reference))
    refused = place.run("validate", code=1).err
    assert "Manifests cannot read this secret" in refused
    assert "targets.prod.state.key names it" in refused
    assert KEY not in refused
