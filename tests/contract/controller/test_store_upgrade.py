"""A store of format 1 becomes one of this version's, with all that it had."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from synapse_apply.controller.planned_rows import HeldRow, HoldReason, PlannedRow, RowAction
from synapse_apply.controller.ports import TargetFilter
from synapse_apply.controller.rows import (
    ApprovalRow,
    HoldRow,
    PauseRow,
    RestoredField,
    RevisionProgress,
    Rollback,
    RunCause,
    RunOutcome,
    RunVerb,
    SourceRow,
    TargetCondition,
    TargetName,
    TargetProgress,
    TargetRow,
)
from synapse_apply.controller.settings import Mode
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.controller.store.store_database import ControllerStoreError
from synapse_apply.controller.store.store_schema import OLDEST_WRITING_FORMAT, STORE_FORMAT
from synapse_apply.controller.store.store_writer import find_first_broken_audit_row

# What sqlite3's iterdump gave of a file that the code of format 1 had written.
_DUMP = Path(__file__).with_name("store_of_format_1.sql")
PROD = TargetName("acme", "prod")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "controller.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_DUMP.read_text(encoding="utf-8"))
    path.chmod(0o600)
    return tmp_path


@pytest.fixture
def old_store(folder: Path) -> Iterator[SqliteControllerStore]:
    with closing(SqliteControllerStore(folder)) as store:
        store.create_or_upgrade()
        yield store


def read_schema(path: Path) -> list[str]:
    """Every table's columns, and every index, as SQLite names them."""
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        names = sorted(name for (name,) in tables.fetchall())
        columns = [
            f"{name} {cells[1:4]}"
            for name in names
            for cells in sorted(connection.execute(f"PRAGMA table_info({name})"))
        ]
        indexes = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'index'")
        return [*sorted(columns), *sorted(sql for (sql,) in indexes if sql)]


def test_all_that_it_had_is_there(old_store):
    """Sources, revisions, targets, runs, messages and a chain of audit that is whole."""
    assert [row.head for row in old_store.list_configured_sources()] == ["c1"]
    page = old_store.target_page(TargetFilter(), 0, 9)
    assert [(row.name.target, row.state) for row in page.targets] == [
        ("prod", TargetCondition.FAILING),
        ("test", TargetCondition.DRIFTED),
        ("dev", TargetCondition.IN_SYNC),
        ("new", TargetCondition.NOT_LOOKED_AT),
    ]
    prod = page.targets[0]
    assert (prod.due_cause, prod.failures, prod.mode) == (RunCause.RETRY, 2, Mode.OBSERVE)
    run = old_store.find_run("r1")
    assert (run.outcome, run.verb, run.plan_json) == (RunOutcome.IN_SYNC, RunVerb.LOOK, '{"a": 1}')
    statuses, messages = old_store.unsent()
    assert ([row.commit for row in statuses], [row.id for row in messages]) == (["c1"], ["m1"])
    assert [row.number for row in old_store.iter_audit()] == [1, 2]
    assert find_first_broken_audit_row(old_store.iter_audit()) is None
    with old_store.write() as writer:
        writer.append_audit(3.0, "proxy:ann", "pause", "acme/*", "")
    assert find_first_broken_audit_row(old_store.iter_audit()) is None


def test_the_older_file_is_kept(folder):
    """As it was, for the earlier version; what was done is said once."""
    with closing(sqlite3.connect(folder / "controller.db")) as connection:
        before = list(connection.iterdump())
    with closing(SqliteControllerStore(folder)) as store:
        kept = folder / "controller.db.format-1"
        assert f"format 1 to {STORE_FORMAT}" in store.create_or_upgrade()
        assert store.create_or_upgrade() == ""
    with closing(sqlite3.connect(kept)) as connection:
        assert list(connection.iterdump()) == before
    assert kept.stat().st_mode & 0o777 == 0o600


def test_what_was_planned_is_done(old_store):
    """So that the next head touches nothing that it does not change."""
    rows = {row.name.target: row.progress for row in old_store.source_targets("acme")}
    assert rows == {
        "dev": TargetProgress.DONE,
        "test": TargetProgress.DONE,
        "prod": TargetProgress.FAILING,
        "new": TargetProgress.OPEN,
    }
    progress = old_store.read_progress_of_revision("acme", 1)
    assert progress == RevisionProgress(4, 2, 1, ("prod",), change_count=1)


def test_it_is_made_as_a_new_one_is(old_store, tmp_path):
    """The same tables, columns and indexes, and this version's format; a second time changes none."""
    new_folder = tmp_path / "new"
    new_folder.mkdir()
    with closing(SqliteControllerStore(new_folder)) as new_store:
        new_store.create_or_upgrade()
    old_store.create_or_upgrade()
    schema = read_schema(tmp_path / "controller.db")
    assert schema == read_schema(new_folder / "controller.db")
    with closing(sqlite3.connect(tmp_path / "controller.db")) as connection:
        formats = dict(connection.execute("SELECT key, value FROM meta WHERE key LIKE '%format%'"))
    assert formats["format"] == str(STORE_FORMAT)
    assert formats["oldest_format_that_may_write"] == str(OLDEST_WRITING_FORMAT)


def test_holds_approvals_and_pauses_can_be_written(old_store, folder):
    """Their tables are those of this version; a backup has them."""
    row = PlannedRow("row1:a", "plugin/a", RowAction.UPDATE)
    hold = HoldRow(PROD, "row1:a", HeldRow(row, HoldReason.APPROVAL), "c1", "r1", 1.0)
    approval = ApprovalRow("a1", PROD, "row1:a", row, "proxy:ann", 2.0)
    pause = PauseRow("acme/*", "proxy:ann", "a release", 1.0, 9.0)
    with old_store.write() as writer:
        writer.replace_holds(PROD, [hold])
        writer.put_approval(approval)
        writer.put_pause(pause)
    backup = folder / "copy" / "controller.db"
    backup.parent.mkdir()
    old_store.write_backup(backup)
    with closing(SqliteControllerStore(backup.parent)) as copy:
        assert list(copy.list_holds(PROD)) == [hold]
        assert list(copy.list_approvals(PROD)) == [approval]
        assert list(copy.list_pauses()) == [pause]


def test_an_upgrade_that_is_cut_off_changes_nothing(folder, monkeypatch):
    """It is one transaction: the file is of format 1 still, and the next start upgrades it."""
    upgrade = "synapse_apply.controller.store.store_schema"
    broken = "CREATE TABLE pauses (scope TEXT)", "THIS IS NO SQL"
    with monkeypatch.context() as patch:
        patch.setattr(
            f"{upgrade}.list_create_statements_added_by_format_2", lambda _dialect: broken
        )
        store = SqliteControllerStore(folder)
        with closing(store), pytest.raises(ControllerStoreError):
            store.create_or_upgrade()
    with closing(sqlite3.connect(folder / "controller.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        assert ("pauses",) not in tables
        assert connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone() == (
            "1",
        )
    with closing(SqliteControllerStore(folder)) as store:
        store.create_or_upgrade()
        assert len(store.source_targets("acme")) == 4


def test_an_older_program_goes_on_beside_a_newer_one(store, run_beside):
    """It inserts rows without the columns that it does not know, and leaves their values alone."""
    new = TargetName("acme", "new")
    with store.write() as writer:
        writer.put(TargetRow(PROD))
    run_beside("ALTER TABLE targets ADD COLUMN newer TEXT NOT NULL DEFAULT 'unset'")
    run_beside(f"UPDATE meta SET value = '{STORE_FORMAT + 1}' WHERE key = 'format'")
    run_beside("UPDATE targets SET newer = 'precious'")
    store.close()
    store.create_or_upgrade()
    with store.write() as writer:
        writer.put(TargetRow(PROD, failures=1))
        writer.put(TargetRow(new))
        writer.shift_times(1.0)
        assert writer.claim(PROD, "me", until=9.0, now=1.0) == 1
    # The column is seen from beside alone: whatever lost its value is deleted.
    run_beside("DELETE FROM targets WHERE newer NOT IN ('precious', 'unset')")
    run_beside("DELETE FROM targets WHERE target = 'prod' AND newer <> 'precious'")
    rows = {row.name: row for row in store.source_targets("acme")}
    assert rows.keys() == {PROD, new}
    assert rows[PROD].failures == 1


def test_a_program_that_lacks_columns_of_this_version_can_insert(store, run_beside):
    """Each field with a default has it in the table, too."""
    run_beside("INSERT INTO sources (name) VALUES ('acme')")
    assert store.list_configured_sources() == [SourceRow("acme")]
    run_beside("DELETE FROM sources")
    with store.write() as writer:
        writer.put(TargetRow(PROD))


def test_a_store_of_format_8_can_count_what_was_restored(store, run_beside):
    """Nothing is counted in it, and no inputs are known to be live."""
    known = TargetRow(PROD, wanted_commit="c1")
    with store.write() as writer:
        writer.put(known)
    run_beside("ALTER TABLE targets DROP COLUMN restored")
    run_beside("ALTER TABLE targets DROP COLUMN live_digest")
    run_beside("DROP TABLE sessions")
    run_beside("UPDATE meta SET value = '8' WHERE key = 'format'")
    store.close()
    assert f"format 8 to {STORE_FORMAT}" in store.create_or_upgrade()
    assert list(store.list_restoring_targets()) == []
    assert store.find_target(PROD) == known
    restored = RestoredField("plugin/a", "description", (1.0, 2.0), "ann@laptop", next_at=9.0)
    with store.write() as writer:
        writer.put(replace(known, restored=(restored,), live_digest="d1"))
    (row,) = store.list_restoring_targets()
    assert (row.restored, row.live_digest) == ((restored,), "d1")


def test_a_store_of_format_7_can_accept_a_push(store, run_beside):
    """No commit is accepted in it."""
    run_beside("INSERT INTO sources (name) VALUES ('acme')")
    run_beside("ALTER TABLE sources DROP COLUMN accepted")
    run_beside("DROP TABLE sessions")
    run_beside("UPDATE meta SET value = '7' WHERE key = 'format'")
    store.close()
    assert f"format 7 to {STORE_FORMAT}" in store.create_or_upgrade()
    assert store.list_configured_sources() == [SourceRow("acme")]
    with store.write() as writer:
        writer.accept_push("acme", "c1")
    assert store.find_source("acme").accepted == "c1"


def test_a_store_of_format_5_can_have_rollbacks(store, run_beside):
    """Conditions are in the order of this version, and no target is rolled back."""
    drifted = TargetRow(PROD, wanted_commit="c1", state=TargetCondition.DRIFTED)
    with store.write() as writer:
        writer.put(drifted)
    run_beside("DROP TABLE owners")
    run_beside("ALTER TABLE targets DROP COLUMN rollback")
    run_beside("UPDATE targets SET state_rank = state_rank - 1")
    run_beside("DROP TABLE sessions")
    run_beside("UPDATE meta SET value = '5' WHERE key = 'format'")
    store.close()
    assert f"format 5 to {STORE_FORMAT}" in store.create_or_upgrade()
    assert list(store.list_targets(TargetFilter(state=TargetCondition.DRIFTED))) == [drifted]
    assert list(store.list_rolled_back_targets()) == []
    rollback = Rollback("c0", "d0", "c1", "d1", "c1", "d1", "proxy:ann", "a reason", 5.0)
    with store.write() as writer:
        writer.put(replace(drifted, rollback=rollback))
    (row,) = store.list_rolled_back_targets()
    assert row.rollback == rollback
