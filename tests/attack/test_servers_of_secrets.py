"""To which servers a commit can send a credential by the settings of Vault and of sops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attack.servers_of_secrets import (
    SOPS,
    STORAGE,
    VAULT,
    Listener,
    encrypt_for,
    search_path_with_sops,
)
from attack.two_targets import Checkout

from synapse_apply import EmbeddedServer

CANARY = "canary-of-another-targets-token"


def make_checkout(root: Path, listener: Listener, backend: str, case: str) -> Checkout:
    """A target with a source of secrets at `localhost`, and a storage that needs one."""
    url, token = f"http://localhost:{listener.port}", {"env": "PROD_TOKEN"}
    arn = f"arn:aws:kms:localhost:{listener.port}/x:1:key/k"
    settings, section, entry = {
        "vault token": ({"vault": {"address": url, "token": token, "allow": ["*"]}}, "", {}),
        "vault jwt": (
            {"vault": {"address": url, "jwt": {"role": "x", "token": token}, "allow": ["*"]}},
            "",
            {},
        ),
        "sops vault": (
            {"sops": {"hc_vault": {"keys": [f"{url}/v1/e/keys/k"], "token": token}}},
            "hc_vault",
            {"vault_address": url, "engine_path": "e", "key_name": "k"},
        ),
        "sops azure": (
            {"sops": {"azure_kv": {"keys": [f"{url}/keys/k"], "client_secret": token}}},
            "azure_kv",
            {"vault_url": url, "name": "k", "version": "1"},
        ),
        "sops amazon": (
            {"sops": {"aws_kms": {"keys": [arn], "access_key_id": token}}},
            "kms",
            {"arn": arn},
        ),
    }[case]
    target = {"url": backend, "token": {"env": "TOKEN"}, **settings}
    project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": {"dev": target}}
    for folder in ("manifests", "secrets"):
        (root / folder).mkdir(parents=True)
    (root / "synapse-apply.yaml").write_text(json.dumps(project))
    (root / "secrets/x.json").write_text(encrypt_for(section or "age", entry))
    manifest = STORAGE.replace("{SOURCE}", f"{{{SOPS if section else VAULT}}}")
    (root / "manifests/b.yaml").write_text(manifest)
    return Checkout(
        root, {"TOKEN": "any", "PROD_TOKEN": CANARY, "PATH": search_path_with_sops(root.parent)}
    )


ASKED = ["vault token", "vault jwt", "sops vault"]


@pytest.mark.parametrize("case", [*ASKED, "sops azure", "sops amazon"])
def test_a_server_that_is_not_listed_gets_nothing(
    tmp_path: Path, listener: Listener, case: str
) -> None:
    """Whatever setting of secrets names it, SYNAPSE_APPLY_HOSTS says where credentials may go.

    Azure's login and Amazon's address by TLS end before this listener hears of them.
    """
    with EmbeddedServer(tmp_path / "backend", token="any") as backend:
        checkout = make_checkout(tmp_path / "p", listener, backend.url, case)
        checkout.run("state init")
        said = checkout.run("plan", SYNAPSE_APPLY_HOSTS="127.0.0.1")
        name = "kms.localhost" if case == "sops amazon" else "localhost"
        not_checked = f"not checked: {name}:{listener.port} is not listed in SYNAPSE_APPLY_HOSTS"
        assert not_checked in said
        assert CANARY not in said
        assert listener.clients == 0
        allowed = f"127.0.0.1,localhost,kms.localhost:{listener.port}"
        assert not_checked not in checkout.run("plan", SYNAPSE_APPLY_HOSTS=allowed)
    assert (listener.clients > 0) is (case in ASKED)
