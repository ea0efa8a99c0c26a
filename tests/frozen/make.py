"""Writes a new generation of frozen files: `PYTHONPATH=tests python -m frozen.make 2027-01`.

Run it when a format changes in a way that old files may have; never to change a generation that is
there: its files are what earlier versions wrote, and users still have such files. It refuses a
folder that exists. `samples.py` has the values, `test_read.py` what every version must make of
them. A program that writes and reads with one mistake agrees with itself; only files that an earlier
version wrote can show it.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from frozen import samples
from installed import BIN, environment
from postgres.server import BINARIES, PostgresServer

from synapse_apply.kinds.run_body import RUN_MARK_KEY
from synapse_apply.model import codec
from synapse_apply.model.address import Address
from synapse_apply.model.job import LastRun
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.state import Intent, Record
from synapse_apply.model.values import flatten
from synapse_apply.secrets.keys import StateKeys
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.lock.lock_owner import LockProcess
from synapse_apply.stores.postgres.postgres_database import make_unconnected_postgres_store
from synapse_apply.stores.sql import SqlStore
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store
from synapse_apply.workspace.recovery_journal import RecoveryJournal

HERE = Path(__file__).resolve().parent
# A folder that Git does not ignore stands in for `.synapse-apply`.
OWN, STORED_AS = ".synapse-apply", "own-folder"
VARIABLES = {
    "SYNAPSE_APPLY_STATE_KEY": samples.KEY_TEXT,
    "RAW_KEY": "made-up-secret-of-a-fixture",
    "XDG_CACHE_HOME": "/dev/null/nobody",
    "LOGNAME": "somebody",
}
PROJECT = """apiVersion: synapse-apply/v1
kind: Project
manifests: [manifests/]
"""
STORAGE = """apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: raw}
spec:
  name: Raw
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: raw
    region: us-west-2
    access_key_id: {valueFrom: {env: RAW_KEY}}
    secret_access_key: {valueFrom: {env: RAW_KEY}}
"""
PLUGIN = """apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: echo}
spec:
  name: Echo
  code: echo
  category: pre_annotation
  description: TEXT
---
apiVersion: synapse-apply/v1
kind: Release
spec:
  plugin: echo
  changelog: First
  source: ./plugins/echo
  verify: {parameters: {word: hello}, context: {project_id: 123}, poll_interval: 0.2}
"""
CONFIG = """name: Echo
code: echo
version: VERSION
category: pre_annotation
description: Says it again
actions:
  say: {entrypoint: plugin.say.run, method: job}
"""
LATE = """---
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: late}
spec:
  name: Late
  provider: file_system
  category: internal
  configuration: {base_path: /data}
"""


def write_generation(target: Path) -> None:
    """All files of a generation."""
    target.mkdir()
    (target / "key.txt").write_text(f"{samples.KEY_TEXT}\n")
    write_states(target)
    write_values(target)
    write_unrecorded(target, samples.LINEAGE, "prod")
    write_project(target)


def write_states(target: Path) -> None:
    """The same state in SQLite and in PostgreSQL; and one whose lock is held."""
    other_process = LockProcess("another-host", "another boot", 1, "5", "somebody@another-host")
    for name in ("state.db", "locked.db"):
        with closing(_open_sqlite(target / name, other_process)) as store:
            store.create_from_snapshot(samples.build_contents())
            if name == "locked.db":
                lock = store.lock("apply")
                lock.__enter__()
                shutil.copy(target / name, target / "copy")
                lock.__exit__(None, None, None)
        if name == "locked.db":
            (target / "copy").replace(target / name)
    for path in target.glob("*.lock"):
        path.unlink()
    server = PostgresServer()
    try:
        server.start()
        url = server.url(schema="frozen")
        with closing(
            make_unconnected_postgres_store(url, "t", runner=LockRunner("", process=other_process))
        ) as store:
            store.create_from_snapshot(samples.build_contents())
        dump = [str(BINARIES / "bin" / "pg_dump"), "--schema=frozen", "--no-owner", "--inserts"]
        text = subprocess.run([*dump, server.url()], capture_output=True, text=True, check=True)
    finally:
        server.remove()
    lines = text.stdout.splitlines()
    statements = [
        line for line in lines if line and not line.startswith(("--", "\\", "SET ", "SELECT "))
    ]
    (target / "state.sql").write_text("\n".join(statements) + "\n")


def _open_sqlite(path: Path, process: LockProcess) -> SqlStore:
    runner = LockRunner("https://ci.example/runs/1", process=process)
    return make_unopened_sqlite_store(
        path, tool_version="0.1.0", now=lambda: samples.AT, runner=runner
    )


def write_values(target: Path) -> None:
    """What is written of each value, as the canonical JSON that digests are over."""
    values = {
        "state.json": codec.state_to_json(samples.build_contents().state),
        "plan.json": codec.plan_to_json(samples.build_plan()),
        "digests.json": samples.build_digests(),
    }
    for name, value in values.items():
        (target / name).write_text(f"{format_canonical_json(value)}\n")


def write_unrecorded(folder: Path, lineage: str, target: str) -> Path:
    """Calls that a run could not record, signed."""
    aside = RecoveryJournal([folder], target, lineage, samples.PLAN_ID, StateKeys((samples.KEY,)))
    for intent, record, entry in samples.build_ended():
        path = aside.append_call_durably_and_return_path_or_empty(intent, record, entry)
    return Path(path)


def write_project(target: Path) -> None:
    """A project that was applied on the embedded backend and then changed; its plans, documents."""
    root = Path(tempfile.mkdtemp(prefix="frozen-")) / "project"
    _write_files(root, "Says it again", "1.0.0")
    documents = target / "documents"
    documents.mkdir()
    _run(root, f"apply -t embedded --auto-approve --report json={documents}/report.json")
    _write_files(root, "Says it twice", "1.1.0")
    late = root / "manifests" / "late.yaml"
    late.write_text(LATE)
    _run(root, "plan -t embedded --out next.plan")
    for name, command in {
        "plan.json": "plan -t embedded --json",
        "show.json": "show storage/raw -t embedded --json",
        "state-list.json": "state show -t embedded --json",
        "state-show.json": "state show release/echo@1.0.0 -t embedded --json",
        "history.json": "state history -t embedded --json",
        "inventory.yaml": "state show --inventory -t embedded",
    }.items():
        (documents / name).write_text(_run(root, command))
    _run(root, f"plan -t embedded --report markdown={documents}/plan.md")
    with closing(make_unopened_sqlite_store(root / OWN / "state" / "embedded.db")) as store:
        lineage = store.read_lineage()
        release = store.find_record(Address.parse("release/echo@1.0.0"))
    _write_run_intent(root, target, release)
    path = write_unrecorded(target, lineage, "embedded")
    (root / "next.plan").replace(target / "next.plan")
    for pattern in ("*.lock", "endpoint.json", "lock", ".gitignore"):
        for leftover in root.rglob(pattern):
            leftover.unlink()
    shutil.rmtree(root / OWN / "cache", ignore_errors=True)
    (root / OWN).rename(root / STORED_AS)
    shutil.copytree(root, target / "project")
    _write_ahead(target, lineage)
    print(f"Written: {path.parent}")


def _write_files(root: Path, text: str, version: str) -> None:
    package = root / "plugins" / "echo"
    (package / "plugin").mkdir(parents=True, exist_ok=True)
    (root / "manifests").mkdir(exist_ok=True)
    (root / "synapse-apply.yaml").write_text(PROJECT)
    (root / "manifests" / "storage.yaml").write_text(STORAGE)
    (root / "manifests" / "plugin.yaml").write_text(PLUGIN.replace("TEXT", text))
    (package / "config.yaml").write_text(CONFIG.replace("VERSION", version))
    (package / "plugin" / "say.py").write_text(
        f"def run(word: str) -> str:\n    return word  # {version}\n"
    )


def _run(root: Path, command: str) -> str:
    done = subprocess.run(
        [str(BIN / "synapse-apply"), *command.split()],
        cwd=root,
        env=environment(VARIABLES),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _write_run_intent(root: Path, target: Path, release: Record | None) -> None:
    """The call that started the run after the release, as it was while it was open."""
    with closing(sqlite3.connect(root / OWN / "embedded" / "data.sqlite3")) as connection:
        ((body,),) = connection.execute("SELECT body FROM job").fetchall()
    context = json.loads(body)["context"]
    last = LastRun.from_json_or_none(release.verification) if release else None
    assert release is not None
    assert last is not None
    intent = Intent(
        id=context[RUN_MARK_KEY],
        plan_id=samples.PLAN_ID,
        address=release.address,
        verb="run",
        api=release.api,
        natural_key="",
        remote_id="1",
        fields=flatten({name: value for name, value in context.items() if name != RUN_MARK_KEY}),
        digest=last.parameters,
        version="1.0.0",
        sent_at="2024-01-01T00:00:00.000000Z",  # long ago, whatever the clock of a test says
        deadline=30.0,
    )
    (target / "run-intent.json").write_text(
        format_canonical_json(codec.intent_to_json(intent)) + "\n"
    )
    (target / "run-context.json").write_text(f"{json.dumps(context)}\n")


def _write_ahead(target: Path, lineage: str) -> None:
    """What is remembered of the state where a later one was seen."""
    (path,) = (target / "project" / STORED_AS / "seen").glob("*.json")
    seen = json.loads(path.read_text())
    seen["serial"] += 10
    assert seen["lineage"] == lineage
    (target / f"ahead-{path.name}").write_text(json.dumps(seen) + "\n")


if __name__ == "__main__":
    os.umask(0o022)
    write_generation(HERE / sys.argv[1])
