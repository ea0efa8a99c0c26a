"""A controller's store goes to a newer version and back, with history, approvals and pauses."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.upgrades.older import NEWER, Machine
from forges.loopback_server import wait_until
from git_repositories import commit, make_repository
from postgres.server import PostgresServer

from synapse_apply import EmbeddedServer

CONTROLLER = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
STORE
sources:
  acme:
    url: REPOSITORY
    may_read: {env: ["ACME_*"], files: [states/]}
    targets: {prod: {mode: approve, interval: 1s}}
access:
  tokens: {ops: {env: OPS_TOKEN}}
  may: [{who: ["token:ops"], do: [read, approve], targets: ["acme/*"]}]
"""
PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: NAME}
spec: {name: NAME, code: NAME, category: neural_net}
"""
# As the page does where a person approves the rows that are held, and pauses the target for a day.
APPROVE_AND_PAUSE = """
import sys, time
from contextlib import closing
from pathlib import Path
from uuid import uuid4
try:  # where the earlier version has it
    from synapse_apply.controller.fleet.opening import build_store_without_connecting
except ImportError:
    from synapse_apply.controller.fleet.job_queue import build_store_without_connecting
from synapse_apply.model.values import Sensitive
from synapse_apply.controller.rows import ApprovalRow, PauseRow, TargetName
store, _ = build_store_without_connecting(Path("data"), Sensitive(sys.argv[1]) if sys.argv[1] else None)
prod, now = TargetName("acme", "prod"), time.time()
with closing(store), store.write() as writer:
    for hold in store.list_holds(prod):
        row = hold.held_row.row
        writer.put_approval(ApprovalRow(str(uuid4()), prod, hold.row_digest, row, "token:ops", now))
    writer.put_pause(PauseRow("acme/prod", "token:ops", "an upgrade", now, now + 86400))
    writer.append_audit(now, "token:ops", "pause", "acme/prod", "an upgrade")
"""
END_PAUSES = APPROVE_AND_PAUSE.partition("with closing")[0] + (
    "with closing(store), store.write() as writer:\n    writer.delete_pause('acme/prod')\n"
)


@dataclass
class House:
    """A controller's folder and the store that it has, filled by the earlier version."""

    older: Machine
    newer: Machine
    store_url: str
    read_store: Callable[[], object]

    def look(self, machine: Machine, code: int = 0) -> str:
        return machine.run(
            "controller", "run", "--once", "controller.yaml", "--data", "data", code=code
        )

    def look_until(self, machine: Machine, text: str) -> str:
        """What is told once the target is due and the text is in it; it is due within a second."""
        told = ""

        def is_told() -> bool:
            nonlocal told
            told = self.look(machine)
            return text in told

        wait_until(is_told, 60, text)
        return told


@pytest.fixture(params=["file", "postgres"])
def house(request: pytest.FixtureRequest, tmp_path: Path, older: Path) -> Iterator[House]:
    """One target, whose first row is held, approved, and paused."""
    url, read_store = "", (lambda: read_file(tmp_path / "data/controller.db"))
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        schema = f"controller_{tmp_path.name}"
        url = server.url(schema=schema)
        read_store = lambda: server.run(f'SELECT * FROM "{schema}".meta ORDER BY key')  # noqa: E731
    store = "store: {url: {env: CONTROLLER_STORE}}" if url else ""
    with EmbeddedServer(tmp_path / "backend", any_token=True) as backend:
        state = str(tmp_path / "states/prod.db")
        project = {
            "apiVersion": "synapse-apply/v1",
            "kind": "Project",
            "targets": {
                "prod": {
                    "url": backend.url,
                    "token": {"env": "ACME_TOKEN"},
                    "state": {"url": state},
                }
            },
        }
        repository = tmp_path / "repository"
        (repository / "manifests").mkdir(parents=True)
        (repository / "synapse-apply.yaml").write_text(json.dumps(project), encoding="utf-8")
        (repository / "manifests/one.yaml").write_text(PLUGIN.replace("NAME", "one"))
        make_repository(repository)
        commit(repository)
        text = CONTROLLER.replace("STORE", store).replace("REPOSITORY", str(repository))
        (tmp_path / "controller.yaml").write_text(text, encoding="utf-8")
        environ = {"ACME_TOKEN": "any", "CONTROLLER_STORE": url, "OPS_TOKEN": "o" * 40}
        machine = Machine(older, tmp_path, environ)
        machine.run("state", "init", "-C", "repository", "-t", "prod")
        made = House(machine, machine.with_version(NEWER), url, read_store)
        made.look(machine)
        machine.run_code(APPROVE_AND_PAUSE, url)
        yield made


def read_file(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_an_upgrade_keeps_all_and_shuts_the_earlier_version_out(house: House) -> None:
    """The pause holds, the approval is used after it; the earlier version refuses, and writes nothing."""
    told = house.look(house.newer)
    assert "store upgraded" in told
    upgraded = re.search(r"format 3 to (\d+), which older versions refuse", told)
    assert upgraded
    assert re.search(rf"\bformat\W+{upgraded[1]}\b", str(house.read_store()))
    told = house.look_until(house.newer, "paused by token:ops")
    assert "store upgraded" not in told
    house.newer.run_code(END_PAUSES, house.store_url)
    house.look_until(house.newer, "apply target=acme/prod")
    before = house.read_store()
    refused = house.look(house.older, code=1)
    assert refused.count("Error: ") == 1
    assert (
        "Error: The controller's store was written by a newer version of synapse-apply" in refused
    )
    assert house.read_store() == before


@pytest.mark.parametrize("house", ["file"], indirect=True)
def test_the_earlier_version_goes_on_with_the_file_that_was_kept(
    house: House, tmp_path: Path
) -> None:
    """Its log names the file; in place of the store, with a state from before, all is as it was."""
    state = tmp_path / "states/prod.db"
    house.newer.run(
        "state", "backup", "-C", "repository", "-t", "prod", str(tmp_path / "before.db")
    )
    before = read_file(tmp_path / "data/controller.db")
    (kept,) = re.findall(
        r"a copy of the old format: (\S+controller\.db\.format-3)\W", house.look(house.newer)
    )
    assert read_file(tmp_path / kept) == before
    assert (tmp_path / kept).stat().st_mode & 0o777 == 0o600
    house.newer.run_code(END_PAUSES, "")
    house.look(house.newer)
    assert state.exists()
    shutil.copy(tmp_path / kept, tmp_path / "data/controller.db")
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"data/controller.db{suffix}").unlink(missing_ok=True)
    house.newer.run(
        "state",
        "restore",
        "-C",
        "repository",
        "-t",
        "prod",
        str(tmp_path / "before.db"),
        "--auto-approve",
    )
    house.look_until(house.older, "paused by token:ops")
    assert "an upgrade" in house.older.run("controller", "audit", "--data", "data")
