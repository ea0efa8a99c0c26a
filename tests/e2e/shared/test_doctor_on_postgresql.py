"""`doctor` on a state in a database: reachable, empty, gone."""

from __future__ import annotations

import json
from pathlib import Path

from in_process import run
from postgres.server import PASSWORD, PostgresServer

from synapse_apply import EmbeddedServer


def test_the_database_is_looked_at(tmp_path: Path) -> None:
    """No state, a state, no server: each is told, and the password never."""
    server = PostgresServer()
    try:
        server.start()
        with EmbeddedServer(tmp_path / "backend", any_token=True) as backend:
            target = {"url": backend.url, "state": {"url": {"env": "STATE_URL"}}}
            project = {
                "apiVersion": "synapse-apply/v1", "kind": "Project", "targets": {"prod": target},
            }  # fmt: skip
            (tmp_path / "synapse-apply.yaml").write_text(json.dumps(project), encoding="utf-8")
            environ = {
                "STATE_URL": server.url(), "SYNAPSE_ACCESS_TOKEN": "any-token",
                "SYNAPSE_APPLY_STATE_KEY": "A" * 44,
            }  # fmt: skip
            none = run("doctor", tmp_path, environ, 1)
            run("state init", tmp_path, environ)
            there = run("doctor --json", tmp_path, environ)
            other_key = {**environ, "SYNAPSE_APPLY_STATE_KEY": "B" * 44}
            wrong = run("doctor", tmp_path, other_key, 1)
            server.stop()
            gone = run("doctor", tmp_path, environ, 1)
            unset = run("doctor", tmp_path, {**environ, "STATE_URL": ""}, 1)
    finally:
        server.remove()
    assert "There is no state for this target" in none.stdout
    rows = {row["check"]: row for row in json.loads(there.stdout)["checks"]}
    assert rows["state"]["status"] == rows["lock"]["status"] == "ok"
    assert rows["state"]["summary"].startswith("postgresql://")
    assert rows["sharing"]["summary"].startswith("This shared state is not bound to a project")
    assert rows["key"]["summary"].endswith(" from SYNAPSE_APPLY_STATE_KEY")
    assert "The state has a different key" in wrong.stdout
    assert "1 problem" in gone.stdout.splitlines()[-1]
    assert "postgresql://" in gone.stdout
    assert "STATE_URL is empty" in unset.stdout
    for done in (none, there, gone, unset):
        assert PASSWORD not in done.stdout + done.stderr
