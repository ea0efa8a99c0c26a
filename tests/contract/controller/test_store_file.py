"""The controller's store as a file: who may have it, how it is opened and copied."""

from __future__ import annotations

import fcntl
import gc
import os
import sqlite3
import stat
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from synapse_apply.controller.rows import SourceRow
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.controller.store.sqlite_database import create_and_hold_data_folder
from synapse_apply.controller.store.store_database import ControllerStoreError
from synapse_apply.model.errors import LockHeld


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteControllerStore]:
    with closing(SqliteControllerStore(tmp_path)) as store:
        store.create_or_upgrade()
        yield store


def test_the_file_is_ours_alone_and_durable(store, tmp_path):
    """Mode 0600, also of what SQLite puts beside it; a write-ahead log, flushed at each commit."""
    with store.write() as writer:
        writer.put(SourceRow("acme"))
        assert writer._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert writer._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    files = [path for path in tmp_path.iterdir() if path.name.startswith("controller.db")]
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_second_controller_on_the_same_folder_is_refused(tmp_path):
    """The message names the process that has it; afterwards the folder is free."""
    folder = tmp_path / "data"
    with (
        create_and_hold_data_folder(folder),
        pytest.raises(LockHeld) as caught,
        create_and_hold_data_folder(folder),
    ):
        pass
    (finding,) = caught.value.diagnostics
    assert f"process {os.getpid()}" in finding.detail
    assert "--data" in finding.hint
    with create_and_hold_data_folder(folder):
        pass


def test_a_lock_that_ends_moments_after_its_controller_was_killed_is_waited_for(tmp_path):
    """A program that the controller was starting keeps it that long: here one that sleeps."""
    with create_and_hold_data_folder(tmp_path):
        pass
    with (tmp_path / "controller.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        program = subprocess.Popen(["/bin/sleep", "0.7"], pass_fds=[lock.fileno()])
    with program, create_and_hold_data_folder(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b""])
def test_another_file_in_its_place_is_not_touched(tmp_path, content):
    """A file that is no store is an error that says so."""
    path = tmp_path / "controller.db"
    path.write_bytes(content)
    store = SqliteControllerStore(tmp_path)
    with pytest.raises(ControllerStoreError, match="not a controller's store"):
        store.create_or_upgrade()
    with pytest.raises(ControllerStoreError, match="not a controller's store"), store.write():
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "CREATE TRIGGER t AFTER INSERT ON audit BEGIN DELETE FROM targets; END",
            "its trigger 't' does not belong in",
        ),
        ("CREATE VIEW v AS SELECT * FROM targets", "its view 'v' does not belong in"),
    ],
)
def test_a_store_with_triggers_or_views_is_refused(store, tmp_path, statement, words):
    """They would act at a write of the controller."""
    store.close()
    with closing(sqlite3.connect(tmp_path / "controller.db")) as connection:
        connection.execute(statement)
    with pytest.raises(ControllerStoreError, match="is damaged") as caught, store.write():
        pass
    assert words in caught.value.diagnostics[0].detail


def test_a_backup_is_one_file_and_replaces_none(store, tmp_path):
    """The copy opens as a store; a second one to the same name is refused."""
    with store.write() as writer:
        writer.put(SourceRow("acme"))
    folder = tmp_path / "copies"
    folder.mkdir()
    store.write_backup(folder / "controller.db")
    assert [path.name for path in folder.iterdir()] == ["controller.db"]
    copy = SqliteControllerStore(folder)
    assert [row.name for row in copy.list_configured_sources()] == ["acme"]
    copy.close()
    with pytest.raises(ControllerStoreError, match="already exists"):
        store.write_backup(folder / "controller.db")


def test_a_folder_without_a_store_may_be_that_of_a_replica(tmp_path):
    """Whose rows are in a database: the error says how that one is asked and saved."""
    with (
        closing(SqliteControllerStore(tmp_path)) as store,
        pytest.raises(ControllerStoreError, match="does not exist") as caught,
    ):
        store.write_backup(tmp_path / "copy.db")
    assert "pg_dump" in caught.value.diagnostics[0].hint
    assert list(tmp_path.iterdir()) == []


def test_a_use_after_the_close_leaves_no_connection(tmp_path):
    """A thread of the page may be in a read when the controller ends."""
    store = SqliteControllerStore(tmp_path)
    store.create_or_upgrade()
    store.close()
    with store.write() as writer:
        writer.put(SourceRow("acme"))
    assert [row.name for row in store.list_configured_sources()] == ["acme"]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        del store, writer
        gc.collect()
    assert not told
