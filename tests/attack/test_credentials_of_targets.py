"""What targets name for their own credentials is nothing that a manifest can read and send away."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attack.two_targets import ENVIRON, Checkout
from git_repositories import git

from synapse_apply.manifests.project.project import read_project_or_findings
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.values import SecretRef
from synapse_apply.secrets.resolve import SecretResolver

STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {{name: thief}}
spec:
  name: Thief
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: b
    access_key_id: {{valueFrom: {{env: FREE}}}}
    secret_access_key: {{valueFrom: {value}}}
"""
SETTINGS: dict[str, Any] = {
    "staging": {
        "url": "http://127.0.0.1:9", "token": {"env": "STAGING_TOKEN"},
        "state": {"url": {"env": "STATE_URL"}, "key": {"env": "OUR_KEY"}}, "agents": {"gpu": {"env": "GPU_AGENT"}},
        "allow_env": ["*"],
    },
    "prod": {
        "url": "http://127.0.0.1:9", "token": {"env": "PROD_TOKEN"}, "allow_env": ["*", "PROD_TOKEN"],
        "state": {"url": "states/prod.db", "key": {"file": "secrets/state.key"}},
        "allow_files": ["states/prod.db"],
    },
}  # fmt: skip
SECRETS = {
    **ENVIRON, "STATE_URL": "postgresql://u:pw@db/x", "GPU_AGENT": "agent-token", "FREE": "free",
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Checkout:
    root = tmp_path / "project"
    for folder in ("manifests", "states", "secrets"):
        (root / folder).mkdir(parents=True)
    (root / "states" / "prod.db").write_text("state")
    (root / "states" / "prod.db-journal").write_text("rows")
    write_project(root, SETTINGS)
    return Checkout(root, SECRETS)


def write_project(root: Path, targets: dict[str, Any]) -> None:
    project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": targets}
    (root / "synapse-apply.yaml").write_text(json.dumps(project), encoding="utf-8")


def steal(site: Checkout, value: str) -> None:
    (site.root / "manifests" / "thief.yaml").write_text(STORAGE.format(value=value))


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        ("{env: STAGING_TOKEN}", "targets.staging.token"),
        ("{env: PROD_TOKEN}", "targets.prod.token"),  # also named by allow_env
        ("{env: STATE_URL}", "targets.staging.state.url"),
        ("{env: GPU_AGENT}", "targets.staging.agents.gpu"),
        ("{env: STATE_URL, format: json}", "targets.staging.state.url"),
        ("{env: prod_token}", "targets.prod.token"),  # one variable where names have no case
        ("{file: states/prod.db}", "targets.prod.state.url"),  # also listed by allow_files
        ("{file: ./secrets/../states/prod.db}", "targets.prod.state.url"),
        ("{file: states/prod.db-journal, format: json}", "targets.prod.state.url"),
        ("{env: OUR_KEY}", "targets.staging.state.key"),
        ("{file: secrets/state.key}", "targets.prod.state.key"),
        ("{file: secrets/state.key.previous}", "targets.prod.state.key"),
    ],
)
def test_no_target_reads_what_any_target_names(site: Checkout, value: str, setting: str) -> None:
    """For each target, at its place; nothing of the value is printed."""
    steal(site, value)
    said = site.run("validate", 1)
    assert "manifests/thief.yaml:11:" in said
    assert f"{setting} names it" in said
    assert not any(secret in said for secret in ("token-of-", "u:pw", "agent-token"))


@pytest.mark.parametrize("make", [os.symlink, os.link], ids=["a link", "a second name"])
def test_another_name_of_the_file_is_the_same_file(
    site: Checkout, make: Callable[[Path, Path], None]
) -> None:
    """Text cannot tell; where the value is read, the file can."""
    make(site.root / "states" / "prod.db", site.root / "secrets" / "innocent")
    project, _ = read_project_or_findings(site.root / "synapse-apply.yaml", "synapse-apply.yaml")
    assert project is not None
    resolver = SecretResolver(site.root, SECRETS, ("*",), (), project.reserved)
    for source, name, setting in (("file", "secrets/innocent", "state.url"),
                                  ("env", "PROD_TOKEN", "token")):  # fmt: skip
        with pytest.raises(SecretUnavailable) as refused:
            resolver.resolve_secret(SecretRef(source, name))
        assert f"targets.prod.{setting} names it" in refused.value.diagnostics[0].detail
    assert resolver.resolve_secret(SecretRef("env", "FREE")).reveal() == "free"


@pytest.mark.parametrize("change", ["the target is gone", "the token has another name"])
def test_a_pull_request_cannot_open_them(site: Checkout, change: str) -> None:
    """Under the settings of another revision both revisions' names are closed."""
    for typed in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "All")):
        git(site.root, *typed)
    mine = json.loads(json.dumps(SETTINGS))
    if change == "the target is gone":
        del mine["prod"]
    else:
        mine["prod"]["token"] = {"env": "ANOTHER"}
    write_project(site.root, mine)
    steal(site, "{env: PROD_TOKEN}")
    said = site.run("validate -t staging --project-from git:main", 1)
    assert "targets.prod.token names it" in said
