"""The file of a SQLite state: who may read it, and every way it can be wrong."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from contract.stores.leases import NEVER, quick
from contract.stores.samples import BINDING, record, told

from synapse_apply.model.errors import LockHeld, StateError
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store

ROOT = Path(__file__).resolve().parents[3]


def mode(path):
    """Permission bits of a path."""
    return stat.S_IMODE(path.stat().st_mode)


def change(path, *statements):
    """Do something to a file behind the store's back."""
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_only_the_owner_may_read_what_a_store_makes(path, tmp_path):
    """Whatever the umask: files 0600, folders 0700, backups too."""
    before = os.umask(0)
    try:
        store = make_unopened_sqlite_store(path)
        store.create_state(BINDING, "lineage")
        store.write_backup(str(tmp_path / "backup.db"))
        with store.lock("test"):
            store.write_records(record())
    finally:
        os.umask(before)
    store.close()
    made = [path, path.with_name("prod.db.lock"), tmp_path / "backup.db"]
    assert [mode(at) for at in made] == [0o600] * 3
    assert [mode(at) for at in (path.parent, path.parent.parent)] == [0o700] * 2
    assert sorted(at.name for at in path.parent.iterdir()) == ["prod.db", "prod.db.lock"]


def test_our_folder_keeps_itself_out_of_git(sqlite, path, tmp_path):
    """A state committed by accident would be everybody's."""
    assert (tmp_path / ".synapse-apply" / ".gitignore").read_text() == "*\n"


def test_a_folder_of_another_name_is_left_alone(tmp_path):
    """A path the user chose gets no files but ours; one that is not there yet is ignored."""
    store = make_unopened_sqlite_store(tmp_path / "mine" / "state.db")
    store.create_state(BINDING, "lineage")
    store.close()
    names = sorted(at.name for at in (tmp_path / "mine").iterdir())
    assert names == [".gitignore", "state.db", "state.db.lock"]
    assert not (tmp_path / ".gitignore").exists()


def test_looking_makes_nothing(path):
    """Neither a file nor a folder."""
    store = make_unopened_sqlite_store(path)
    assert not store.exists()
    with pytest.raises(StateError, match="There is no state"):
        store.read_state()
    assert not path.parent.parent.exists()


def test_a_path_with_odd_characters_is_one_path(tmp_path):
    """A question mark or a percent sign is part of the name, not of an address."""
    path = tmp_path / "a?mode=memory#b%20ü" / "s ta.db"
    store = make_unopened_sqlite_store(path)
    store.create_state(BINDING, "lineage")
    store.close()
    assert path.is_file()


def test_a_state_removed_while_open_is_missed_at_once(sqlite, path):
    """Writing into a file without a name would be lost silently."""
    sqlite.read_state()
    path.unlink()
    with pytest.raises(StateError, match="There is no state"):
        sqlite.read_state()
    with sqlite.lock("test"), pytest.raises(StateError, match="There is no state"):
        sqlite.write_records(record())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"name: yolo\n" * 200, "is not an SQLite database"),
        (b"SQLite format 3\x00" + b"\x00" * 20, "is not an SQLite database"),
    ],
)
def test_a_file_that_is_no_database(path, content, words):
    """The message names the file and says that it was left as it is."""
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    store = make_unopened_sqlite_store(path)
    with pytest.raises(StateError) as caught:
        store.read_state()
    assert words in told(caught)
    assert str(path) in told(caught)
    assert "restore" in told(caught)
    assert path.read_bytes() == content
    with pytest.raises(StateError, match="A state already exists"):
        store.create_state(BINDING, "lineage")


def test_a_database_of_another_program(path):
    """A database is ours only by its application id."""
    path.parent.mkdir(parents=True)
    change(path, "CREATE TABLE meta (id INTEGER)")
    store = make_unopened_sqlite_store(path)
    with pytest.raises(StateError) as caught:
        store.read_state()
    assert "not a state of synapse-apply" in told(caught)
    assert "another program" in told(caught)


def test_a_folder_in_the_place_of_the_file(path):
    """Said in words."""
    path.mkdir(parents=True)
    with pytest.raises(StateError) as caught:
        make_unopened_sqlite_store(path).read_state()
    assert "is a folder. It was not opened" in told(caught)


def test_a_newer_format_names_both_numbers(sqlite, path):
    """A newer version's state is not touched, whether its header or its row says so."""
    sqlite.close()
    change(path, "PRAGMA user_version = 7")
    with pytest.raises(StateError) as caught:
        sqlite.read_state()
    assert "newer version" in told(caught)
    assert "format 7" in told(caught)
    change(path, "PRAGMA user_version = 1", "UPDATE meta SET format = 8")
    with sqlite.lock("test"), pytest.raises(StateError, match="newer version"):
        sqlite.write_records(record())


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM meta", "first row is missing"),
        ("DROP TABLE meta", "no such table"),
        ("DROP TABLE records", "no such table"),
        ("UPDATE records SET record = 'x'", "plugin/yolo is not JSON"),
        ("UPDATE records SET record = '{}'", "plugin/yolo: address, api, remote_id missing"),
    ],
)
def test_a_damaged_state_says_what_is_wrong(sqlite, path, statement, words):
    """And how to come back."""
    with sqlite.lock("test"):
        sqlite.write_records(record())
    sqlite.close()
    change(path, statement)
    with pytest.raises(StateError) as caught:
        sqlite.read_state()
    assert "The state is damaged" in told(caught)
    assert words in told(caught)
    assert "state restore" in told(caught)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "CREATE TRIGGER t AFTER INSERT ON audit BEGIN DELETE FROM records; END",
            "its trigger 't' differs",
        ),
        ("CREATE VIEW v AS SELECT * FROM records", "its view 'v' differs"),
        ("CREATE TABLE more (id)", "its table 'more' differs"),
        ("CREATE UNIQUE INDEX one ON audit (address)", "its index 'one' differs"),
        ("ALTER TABLE records ADD COLUMN more DEFAULT 1", "its table 'records' differs"),
        ('CREATE VIEW "\u202e" AS SELECT 1', r"its view '\u202e' differs"),
    ],
)
def test_what_no_state_has_is_refused(sqlite, path, tmp_path, statement, words):
    """A trigger acts at a later write, when nobody thinks of the file any more."""
    with sqlite.lock("test"):
        sqlite.write_records(record())
    sqlite.write_backup(str(tmp_path / "backup.db"))
    change(tmp_path / "backup.db", statement)
    with pytest.raises(StateError) as restored:
        sqlite.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup.db"))
    assert len(sqlite.read_state().records) == 1
    sqlite.close()
    change(path, statement)
    with pytest.raises(StateError) as opened:
        sqlite.read_state()
    for caught in (restored, opened):
        assert "The state is damaged" in told(caught)
        assert words in told(caught)


def test_a_file_that_was_analyzed_is_read(sqlite, path):
    """SQLite keeps what it counted in a table of its own."""
    with sqlite.lock("test"):
        sqlite.write_records(record())
    sqlite.close()
    change(path, "ANALYZE")
    assert len(sqlite.read_state().records) == 1


def test_a_cut_off_file_is_damaged(sqlite, path):
    """A copy that did not end."""
    with sqlite.lock("test"):
        sqlite.write_records(*(record(f"p{number}", str(number)) for number in range(200)))
    sqlite.close()
    path.write_bytes(path.read_bytes()[:8192])
    with pytest.raises(StateError, match="damaged"):
        sqlite.read_state()


def test_a_full_disk_loses_nothing_recorded(sqlite):
    """The write fails as a whole and says so."""
    with sqlite.lock("test"):
        sqlite.write_records(record())
        sqlite._database._require_connection_to_current_file().execute("PRAGMA max_page_count = 1")
        with pytest.raises(StateError) as caught:
            sqlite.write_records(record("big", "2", series="x" * 100_000))
        assert "The disk is full" in told(caught)
        assert [at.name for at in sqlite.read_state().records] == ["yolo"]
        sqlite.write_records(record("small", "3"))


READ_ONLY = """
import os, sys
from contract.stores.samples import BINDING, record
from synapse_apply.model.errors import StateError
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store

store = make_unopened_sqlite_store(sys.argv[1])
store.read_state()
if os.geteuid() == 0:
    os.setuid(65534)
store.close()
print(len(store.read_state().records))
try:
    with store.lock("apply"):
        store.write_records(record("more", "9"))
except StateError as problem:
    print(problem.diagnostics[0].summary, "|", problem.diagnostics[0].detail)
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_read_only_can_be_read_and_says_so_when_written(what):
    """Reading works without any right to write."""
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "state.db"
        store = make_unopened_sqlite_store(path)
        store.create_state(BINDING, "lineage")
        store.close()
        path.with_name("state.db.lock").unlink()
        path.chmod(0o444)
        folder.chmod(0o777 if what == "file" else 0o555)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(path)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)])},
        )
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)
    records, told = done.stdout.splitlines()
    assert (records, done.stderr) == ("0", "")
    assert "cannot be written" in told
    assert str(path) in told


def test_a_busy_file_is_said_in_words(sqlite, path, monkeypatch):
    """Another program that keeps the file is named as the reason."""
    monkeypatch.setattr("synapse_apply.stores.sqlite.sqlite_database.BUSY_TIMEOUT_SECONDS", 0.01)
    sqlite.close()
    blocker = sqlite3.connect(path, isolation_level=None)
    with sqlite.lock("test"):
        blocker.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StateError, match="busy"):
            sqlite.write_records(record())
        blocker.close()


def test_a_process_that_was_stopped_in_a_write_holds_the_lock(sqlite, path, monkeypatch):
    """Nobody else can even read who it is; the command ends as with any lock that is held."""
    monkeypatch.setattr("synapse_apply.stores.sqlite.sqlite_database.BUSY_TIMEOUT_SECONDS", 0.01)
    sqlite.close()
    blocker = sqlite3.connect(path, isolation_level=None)
    for hold in ("IMMEDIATE", "EXCLUSIVE"):
        blocker.execute(f"BEGIN {hold}")
        with pytest.raises(LockHeld) as caught, sqlite.lock("test", timeout=0.05):
            pytest.fail("the state was locked")
        assert "is writing, or was stopped during a write" in told(caught)
        blocker.execute("ROLLBACK")
    blocker.close()
    with sqlite.lock("test"):
        sqlite.write_records(record())


def test_text_that_is_no_unicode_is_kept_in_a_field_alone(sqlite):
    """An id of no known form never gets here: it is refused where it comes in."""
    odd = record(applied={("k\ud800",): "v\udfff"})
    with sqlite.lock("test"):
        sqlite.write_records(odd)
        with pytest.raises(TypeError, match="expected an id"):
            sqlite.write_records(record("x", "\ud800"))
    assert list(sqlite.read_state().records.values()) == [odd]


def test_ten_thousand_records_are_one_transaction(path):
    """A large import is one durable write, and a fixed number of statements each."""
    seen = []
    # A sign of life is a transaction of its own, and on a slow machine this takes long enough for one.
    sqlite = make_unopened_sqlite_store(path, runner=quick(lease=NEVER, beat=NEVER))
    sqlite.create_state(BINDING, "lineage")
    with sqlite.lock("test"):
        sqlite._database._require_connection_to_current_file().set_trace_callback(seen.append)
        sqlite.write_records(*(record(f"p{number}", str(number)) for number in range(10_000)))
        assert seen.count("COMMIT") == 1
    assert len(seen) <= 10_000 * 4 + 10
    assert len(sqlite.read_state().records) == 10_000
    sqlite.close()


def test_every_commit_is_flushed(sqlite):
    """A rollback journal, and everything on disk before a call returns."""
    connection = sqlite._database._require_connection_to_current_file()
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert connection.execute("PRAGMA synchronous").fetchone()[0] >= 2
