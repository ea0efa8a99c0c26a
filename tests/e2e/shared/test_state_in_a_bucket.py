"""A target whose state is in a bucket, from `state init` on, and one whose state moves there."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from buckets.proxy import BucketProxy
from buckets.servers import SECRET_KEY, BucketServer
from in_process import run_in_process

from synapse_apply import EmbeddedServer

MANIFEST = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: raw}
spec:
  name: Raw
  provider: file_system
  category: internal
  configuration: {base_path: /data}
"""

KEY = {"SYNAPSE_APPLY_STATE_KEY": base64.b64encode(bytes(range(32))).decode()}


class Project:
    """One target at a backend of its own; its state where `keep_state_at` says."""

    def __init__(self, root: Path, backend: str, environ: dict[str, str]) -> None:
        self.root = root
        self._backend = backend
        self._environ = {**os.environ, **environ, "SYNAPSE_ACCESS_TOKEN": "any", **KEY}
        (root / "manifests").mkdir()
        self.declare("raw")

    def declare(self, name: str) -> None:
        text = MANIFEST.replace("raw", name).replace("Raw", name.title())
        (self.root / "manifests" / f"{name}.yaml").write_text(text, encoding="utf-8")

    def keep_state_at(self, url: str) -> None:
        target = {"url": self._backend, **({"state": {"url": url}} if url else {})}
        project = {
            "apiVersion": "synapse-apply/v1",
            "kind": "Project",
            "project": {"id": "7b0f9a52-3a2c-4d7e-9c55-0d5e2f6a1b34"},
            "targets": {"prod": target},
        }
        (self.root / "synapse-apply.yaml").write_text(json.dumps(project), encoding="utf-8")

    def run(self, *typed: str, code: int = 0) -> str:
        done = run_in_process(list(typed), self.root, self._environ)
        assert done.returncode == code, done.stdout + done.stderr
        assert SECRET_KEY not in done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path, seaweed: BucketServer) -> object:
    (tmp_path / "project").mkdir()
    with EmbeddedServer(tmp_path / "backend", any_token=True) as server:
        yield Project(tmp_path / "project", server.url, seaweed.environ)


def test_a_state_begins_in_a_bucket_and_is_all_there(
    project: Project, seaweed: BucketServer
) -> None:
    """init, doctor, apply, plan, backup and restore; nothing of it is on this machine."""
    project.keep_state_at(seaweed.url())
    told = project.run("state", "init")
    assert "Created an empty state" in told
    assert "No lifecycle rule may expire current objects there" in told
    assert len(told.splitlines()) <= 6
    assert "Resources: 1 added" in project.run("apply", "--auto-approve")
    assert project.run("plan").startswith("No changes.")
    project.run("state", "backup", "before.db")
    project.run("state", "rm", "storage/raw")
    project.run("state", "restore", "before.db", "--auto-approve")
    assert "storage/raw" in project.run("state", "show")
    assert not list(project.root.glob(".synapse-apply/state/*.db"))


def test_a_state_moves_into_a_bucket_and_goes_on_there(
    project: Project, seaweed: BucketServer
) -> None:
    """With all that it has, and without the local file."""
    project.keep_state_at("")
    project.run("state", "init")
    project.run("apply", "--auto-approve")
    url = seaweed.url()
    assert "Copied 1 record of target prod" in project.run("state", "backup", "--to", url)
    (project.root / ".synapse-apply" / "state" / "prod.db").unlink()
    project.keep_state_at(url)
    assert project.run("plan").startswith("No changes.")
    project.declare("more")
    assert "Resources: 1 added" in project.run("apply", "--auto-approve")
    assert "storage/more" in project.run("state", "show")


def test_doctor_looks_at_the_bucket(project: Project, seaweed: BucketServer) -> None:
    """It makes one object and deletes it; a bucket that is gone, or refuses, is told."""
    project.keep_state_at(seaweed.url())
    project.run("state", "init")
    rows = {row["check"]: row for row in json.loads(project.run("doctor", "--json"))["checks"]}
    assert rows["state"]["summary"].startswith("s3://states/")
    assert rows["bucket"]["status"] == "ok"
    assert rows["bucket"]["summary"].endswith("lists it; 0 old objects not deleted yet")
    project.keep_state_at(seaweed.url().replace("//states/", "//others/"))
    assert "The state's bucket does not exist" in project.run("doctor", code=1)


@pytest.mark.parametrize(
    ("denied", "told"),
    [
        ("DELETE", "The state's old objects cannot be deleted"),
        ("PUT", "This job does not have permission to write the state"),
    ],
)
def test_doctor_says_what_a_job_may_not_do(
    project: Project, seaweed: BucketServer, moto: BucketServer, denied: str, told: str
) -> None:
    """Each is a warning: a plan needs neither."""
    proxy = BucketProxy(moto.port)
    project.keep_state_at(moto.url(port=proxy.port))
    project.run("state", "init")
    answer = (403, b"<Error><Code>AccessDenied</Code></Error>")
    proxy.choose = lambda method, _path: answer if method == denied else None
    assert told in project.run("doctor")
    assert project.run("plan")
    proxy.close()


def test_no_state_is_made_where_it_would_not_be_safe(project: Project, moto: BucketServer) -> None:
    """A store that ignores the condition of a write is refused, and nothing stays there."""
    proxy = BucketProxy(moto.port, dropped=["If-None-Match"])
    project.keep_state_at(moto.url("unsafe", port=proxy.port))
    told = project.run("state", "init", code=1)
    assert "This bucket cannot hold a state" in told
    assert "16 of 16 concurrent requests were each told that they created the same object" in told
    project.keep_state_at(moto.url("unsafe"))
    assert "There is no state" in project.run("plan", code=1)
    proxy.close()


def test_no_state_moves_to_where_it_would_not_be_safe(project: Project, moto: BucketServer) -> None:
    """The state stays where it is, and nothing is written there."""
    project.keep_state_at("")
    project.run("state", "init")
    proxy = BucketProxy(moto.port, dropped=["If-None-Match"])
    url = moto.url("unsafe-to-move", port=proxy.port)
    assert "This bucket cannot hold a state" in project.run("state", "backup", "--to", url, code=1)
    proxy.close()
    project.keep_state_at(moto.url("unsafe-to-move"))
    assert "There is no state for this target" in project.run("plan", code=1)
