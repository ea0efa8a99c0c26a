"""The pipeline of examples/gitlab-sops, job by job: the key is in one of them alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forking
import pytest
import sops
import yaml
from git_repositories import git
from installed import BIN, ROOT, copied, environment, variables

from synapse_apply import EmbeddedServer

SETTINGS = {"stages", "workflow", "variables", "default"}
KEY = "c3RhdGUta2V5LW9mLXRlc3RzLTMyLWJ5dGVzLWxvbmc="
VALUES = (
    "AKIAprodMADEUP",
    "made-up-secret-of-the-prod-file",
    "made-up-private-key-of-the-prod-file",
)


@dataclass
class World:
    """A checkout of the example, its prod a backend that is served."""

    checkout: Path
    server: EmbeddedServer
    path: str
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(
            (self.checkout / ".gitlab-ci.yml").read_text("utf-8")
        )
        return found

    def job(self, name: str, code: int = 0, **secrets: str) -> str:
        """Run one job's script in one shell, as a runner does; what it wrote."""
        predefined = {
            "CI": "true",
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": git(self.checkout, "rev-parse", "origin/main"),
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "chosen-by-its-author",
            "CI_DEFAULT_BRANCH": "main",
            **self.document["variables"],
            "SYNAPSE_APPLY_HOSTS": "127.0.0.1",
        }
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", "\n".join(self.document[name]["script"])],
            cwd=self.checkout,
            env=environment({**predefined, **secrets, "PATH": self.path}),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        log = done.stdout + done.stderr
        assert done.returncode == code, log
        outputs = [log, *(path.read_text() for path in self.checkout.glob("*.html"))]
        assert not [
            value for value in (*VALUES, sops.OTHER_KEY) for text in outputs if value in text
        ]
        return log


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    origin = tmp_path / "origin"
    checkout = copied(ROOT / "examples" / "gitlab-sops", tmp_path)
    with EmbeddedServer(tmp_path / "backend", token="t", tenant="acme") as server:
        file = checkout / "synapse-apply.yaml"
        file.write_text(file.read_text().replace("https://api.synapse.example", server.url))
        git(tmp_path, "init", "-q", "-b", "main", str(checkout))
        git(checkout, "add", "-A")
        git(checkout, "commit", "-qm", "first")
        git(tmp_path, "clone", "-q", "--bare", str(checkout), str(origin))
        git(checkout, "remote", "add", "origin", str(origin))
        git(checkout, "fetch", "-q", "origin")
        # The image's `python3` has the tool.
        (tmp_path / "bin").mkdir()
        python = tmp_path / "bin" / "python3"
        programs = forking.programs()
        python.write_text(f'#!/bin/sh\nexec {programs}/python "$@"\n')
        python.chmod(0o755)
        path = os.pathsep.join(map(str, (tmp_path / "bin", programs, BIN, os.defpath)))
        yield World(checkout, server, path)


def test_each_job_with_what_it_has(world: World, tmp_path: Path) -> None:
    """Checked without any secret, planned without the key, applied with it, and no drift then."""
    without_sops = World(
        world.checkout, world.server, f"{tmp_path / 'bin'}{os.pathsep}{os.defpath}"
    )
    assert "No changes." in without_sops.job("check")
    state = f"sqlite:///{tmp_path}/state/prod.db"
    given = {
        "SYNAPSE_PROD_TOKEN": "t",
        "SYNAPSE_APPLY_STATE_URL": state,
        "SYNAPSE_APPLY_STATE_KEY": KEY,
    }
    init = ["synapse-apply", "state", "init", "-t", "prod"]
    subprocess.run(
        init, cwd=world.checkout, env=environment({**given, "PATH": world.path}), check=True,
        capture_output=True,
    )  # fmt: skip
    planned = world.job("plan", **given)
    assert "Plan: 2 to add" in planned
    assert "not checked: PROD_AGE_KEY is not set" in planned
    assert "PROD_AGE_KEY is not set" in world.job("apply", 1, **given)
    applied = world.job("apply", **given, PROD_AGE_KEY=sops.OTHER_KEY)
    assert "age from PROD_AGE_KEY, by sops 3." in applied
    assert "Apply complete! Resources: 2 added" in applied
    assert "No drift" in world.job("drift", **given)


def test_which_jobs_have_which_secrets(world: World) -> None:
    """A scope of GitLab is an environment: the key's is that of `apply` alone."""
    jobs = {name: job for name, job in world.document.items() if name not in SETTINGS}
    named = {name: job.get("environment", "") for name, job in jobs.items()}
    assert [name for name, place in named.items() if place == "prod"] == ["apply"]
    assert named["check"] == ""
    assert "merge_request_event" in jobs["check"]["rules"][0]["if"]
    assert "$CI_PROJECT_ID" in jobs["plan"]["rules"][0]["if"]


def test_the_files_are_encrypted_as_their_rules_say(world: World) -> None:
    """Each opens with its own key, and `sops updatekeys` would change nothing."""
    rules = yaml.safe_load((world.checkout / ".sops.yaml").read_text())["creation_rules"]
    assert [rule["age"] for rule in rules] == [sops.OTHER_RECIPIENT, sops.RECIPIENT]
    assert variables(world.checkout / "example.env") == {"EXAMPLE_AGE_KEY": sops.KEY}
    for name, key in (("prod", sops.OTHER_KEY), ("example", sops.KEY)):
        text = (world.checkout / "secrets" / f"{name}.yaml").read_text()
        types = ("--input-type", "yaml", "--output-type", "json")
        opened = sops.run_sops(
            "decrypt", *types, "/dev/stdin", text=text, environ={"SOPS_AGE_KEY": key}
        )
        assert f"made-up-secret-of-the-{name}-file" in opened
