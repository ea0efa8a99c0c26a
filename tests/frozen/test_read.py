"""What earlier versions wrote is read as they meant it, and written as they wrote it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from frozen import samples
from postgres.server import PostgresServer

from synapse_apply.model import codec
from synapse_apply.model.errors import InputError
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.state import STATE_FORMAT, StateProgress
from synapse_apply.model.values import Mac
from synapse_apply.operations import saved_plan
from synapse_apply.secrets.keys import StateKeys
from synapse_apply.stores.postgres.postgres_database import make_unconnected_postgres_store
from synapse_apply.stores.schema import TABLE_COLUMNS
from synapse_apply.stores.sql import SqlStore
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store
from synapse_apply.workspace import recovery_journal
from synapse_apply.workspace.recovery_journal import RecoveryJournal

FILES = Path(__file__).resolve().parent / "2026-11"
UNRECORDED = f"unrecorded-prod-{samples.PLAN_ID}.jsonl"
KEYS = StateKeys((samples.KEY,))


def read_document(name: str) -> Any:
    return json.loads((FILES / name).read_text())


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    """The frozen state, in each sort of store."""
    if request.param == "sqlite":
        opened = make_unopened_sqlite_store(shutil.copy(FILES / "state.db", tmp_path / "state.db"))
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        server.run("DROP SCHEMA IF EXISTS frozen CASCADE", (FILES / "state.sql").read_text())
        opened = make_unconnected_postgres_store(server.url(schema="frozen"), "t")
    with closing(opened):
        yield opened


def test_a_state_is_read(store: SqlStore) -> None:
    """Records of each kind, open calls of each verb, history and used plans, each in its field."""
    expected = samples.build_contents()
    contents = store.read_snapshot()
    assert contents == expected
    assert store.read_progress() == StateProgress(serial=41, fence=expected.fence + 1)
    assert store.was_plan_applied(samples.PLAN_ID)
    assert store.list_audit_entries_newest_first(1) == [expected.audit[-1]]
    assert codec.state_to_json(contents.state) == read_document("state.json")


def test_a_state_can_be_worked_with(store: SqlStore) -> None:
    """It is locked, written to and counted on from where it was."""
    before = store.read_progress()
    opened = samples.build_intents()[0]
    with store.lock("apply"):
        store.close_ended_intent(samples.build_ended()[0][0], None, samples.build_audit()[0])
        store.remove_records(samples.BY_ID)
    assert store.read_progress().has_reached(before.with_next_serial_if_known())
    assert store.read_progress().fence == before.fence + 1
    assert opened.id not in {intent.id for intent in store.read_state().open_intents}
    assert samples.BY_ID not in store.read_state().records


def test_a_state_is_written_byte_for_byte(tmp_path: Path) -> None:
    """Every cell of every table, but who wrote it when, and which format that is."""
    with closing(
        make_unopened_sqlite_store(tmp_path / "new.db", now=lambda: samples.AT)
    ) as new_store:
        new_store.create_from_snapshot(samples.build_contents())
    tables = [{**read_rows(path), "lock": []} for path in (tmp_path / "new.db", FILES / "state.db")]
    for table in tables:
        del table["meta"][0]["tool_version"]
    assert [table["meta"][0].pop("format") for table in tables] == [STATE_FORMAT, 1]
    assert tables[0] == tables[1]


def read_rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    """All that a file holds, by table and column."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return {
            table: [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1")]
            for table in TABLE_COLUMNS
        }


def test_the_holder_of_a_lock_is_told(tmp_path: Path) -> None:
    """Who, where, doing what, since when, in which run."""
    with closing(
        make_unopened_sqlite_store(shutil.copy(FILES / "locked.db", tmp_path / "state.db"))
    ) as store:
        (finding,) = store.list_lock_held_findings_unless_owner_ended()
        for part in ("somebody@another-host", "process 1", "running apply since 2026-11-26T21:00"):
            assert part in finding.detail
        assert "https://ci.example/runs/1" in finding.detail
        assert store.read_snapshot() == samples.build_contents()


def test_a_plan_is_read_and_written() -> None:
    """Every shape of it, exactly."""
    assert codec.plan_from_json(read_document("plan.json")) == samples.build_plan()
    for name, value in (
        ("plan.json", codec.plan_to_json(samples.build_plan())),
        ("state.json", codec.state_to_json(samples.build_contents().state)),
    ):
        assert f"{format_canonical_json(value)}\n" == (FILES / name).read_text()


def test_digests_and_signatures_stay() -> None:
    """Of secrets, lines, runs and values: a digest that changes is a change to everybody."""
    assert samples.build_digests() == read_document("digests.json")
    assert (FILES / "key.txt").read_text().strip() == samples.KEY_TEXT


def test_saved_plans_are_read() -> None:
    """The plan, its options, its signature."""
    contents = saved_plan.read_saved_plan_without_verifying_signature(FILES / "next.plan")
    actions = {str(change.address): change.action.value for change in contents.plan.changes}
    assert actions == {
        "plugin/echo": "update",
        "release/echo@1.1.0": "create",
        "release/echo@1.0.0": "no-op",
        "storage/late": "create",
        "storage/raw": "no-op",
    }
    assert isinstance(contents.mac, Mac)
    assert contents.mac.key_id == samples.KEY.key_id
    assert not contents.options.prune
    assert contents.options.verify


def test_unrecorded_calls_are_read(tmp_path: Path) -> None:
    """Each line as it was meant, and signed by the key; another key's are told apart."""
    contents = recovery_journal.read_valid_journal(FILES / UNRECORDED, "prod", KEYS)
    assert contents.is_genuine
    assert [(ended.intent, ended.record, ended.audit_entry) for ended in contents.calls] == list(
        samples.build_ended()
    )
    assert {(ended.lineage, ended.target, ended.plan_id) for ended in contents.calls} == {
        (samples.LINEAGE, "prod", samples.PLAN_ID)
    }
    assert not recovery_journal.read_valid_journal(
        FILES / UNRECORDED, "prod", StateKeys()
    ).is_genuine
    changed = tmp_path / UNRECORDED
    changed.write_text((FILES / UNRECORDED).read_text().replace('"12"', '"13"'))
    with pytest.raises(InputError, match="changed after a run wrote it"):
        recovery_journal.read_valid_journal(changed, "prod", KEYS)


def test_unrecorded_calls_are_written_byte_for_byte(tmp_path: Path) -> None:
    """With their signatures, since another run goes on in the same file."""
    aside = RecoveryJournal([tmp_path], "prod", samples.LINEAGE, samples.PLAN_ID, KEYS)
    for intent, record, entry in samples.build_ended():
        aside.append_call_durably_and_return_path_or_empty(intent, record, entry)
    assert (tmp_path / UNRECORDED).read_text() == (FILES / UNRECORDED).read_text()
