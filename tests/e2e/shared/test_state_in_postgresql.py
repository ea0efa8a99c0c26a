"""A target whose state moves into a database that runners share."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from in_process import run_in_process
from postgres.server import PostgresServer

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


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """The url of a database, with its password."""
    return postgres.url(schema="state_of_prod")


def write_project(folder: Path, at: str, **state: object) -> None:
    """One target at a backend; its state where `state` says."""
    target = {"url": at, **({"state": state} if state else {})}
    project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": {"prod": target}}
    (folder / "synapse-apply.yaml").write_text(json.dumps(project), encoding="utf-8")


def test_a_state_moves_to_postgresql_and_goes_on_there(tmp_path: Path, database: str) -> None:
    """init, apply, migrate; plan, apply and restore from the database, without the local file."""
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "raw.yaml").write_text(MANIFEST, encoding="utf-8")
    environ = {**os.environ, "STATE_URL": database, "SYNAPSE_ACCESS_TOKEN": "any"}

    def run(*typed: str) -> str:
        done = run_in_process(list(typed), tmp_path, environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with EmbeddedServer(tmp_path / "backend", any_token=True) as server:
        write_project(tmp_path, server.url)
        run("state", "init")
        run("apply", "--auto-approve")
        assert "Copied 1 record of target prod" in run("state", "backup", "--to", database)
        (tmp_path / ".synapse-apply" / "state" / "prod.db").unlink()
        write_project(tmp_path, server.url, url={"env": "STATE_URL"})

        assert run("plan").startswith("No changes.")
        more = MANIFEST.replace("raw", "more").replace("Raw", "More")
        (tmp_path / "manifests" / "more.yaml").write_text(more, encoding="utf-8")
        assert "Resources: 1 added" in run("apply", "--auto-approve")
        assert run("plan").startswith("No changes.")
        assert "storage/more" in run("state", "show")
        run("state", "backup", "before.db")
        run("state", "rm", "storage/more")
        kept = tmp_path / ".synapse-apply" / "state" / "prod.before-restore"
        for name in (kept, Path(f"{kept}-2")):
            told = run("state", "restore", "before.db", "--auto-approve")
            assert f"The replaced state is kept as {name}.\n" in told
        assert "storage/more" in run("state", "show")
        run("state", "restore", str(kept), "--auto-approve")
        assert "storage/more" not in run("state", "show")
