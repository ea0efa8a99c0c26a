"""The store in one SQLite file of a data folder, which one controller alone writes."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from fnmatch import translate
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import quote

from synapse_apply.controller.store import store_database, store_schema
from synapse_apply.controller.store.row_table import MATCHES_PATTERN, SQLITE_DIALECT
from synapse_apply.controller.store.store_database import ControllerStoreError, StoreConnection
from synapse_apply.files import opening
from synapse_apply.model.errors import LockHeld


class SqliteConnection:
    """A StoreConnection to the file; a writer waits for another process for some seconds."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.sqlite_connection = connection
        self._path = path

    def execute(self, statement: str, values: Sequence[object] = (), /) -> sqlite3.Cursor:
        return self.sqlite_connection.execute(statement, values)

    def execute_write(self, statement: str, values: Sequence[object] = (), /) -> None:
        self.sqlite_connection.execute(statement, values)

    def run_queued_statements(self) -> None:
        """Nothing: a file is never far away, so each statement has run at once."""

    def begin_reading(self) -> None:
        self.execute("BEGIN")

    def begin_writing(self) -> None:
        self.execute("BEGIN IMMEDIATE")
        # A newer version may have upgraded the store since this connection was opened.
        require_writable_format(self.sqlite_connection, self._path)

    def commit(self) -> None:
        self.execute("COMMIT")

    def roll_back_if_begun(self) -> None:
        # If the disk was full, SQLite has rolled back already.
        if self.sqlite_connection.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        self.sqlite_connection.close()


class SqliteStoreDatabase:
    """A StoreDatabase that one process has for itself: `create_or_upgrade` is for that one alone.

    Others may read it, and make a backup.
    """

    dialect = SQLITE_DIALECT
    is_shared = False

    def __init__(self, data_folder: Path) -> None:
        self.path = data_folder / FILE_NAME

    def create_or_upgrade(self) -> str:
        """See StoreDatabase; the file of an older format is kept beside the new one."""
        create_store_file(self.path)
        with self.translate_errors("Upgrading"):
            connection = self.open_connection(is_writer=True)
            try:
                connection.begin_writing()
                done = store_schema.upgrade_tables_if_older_without_commit(
                    connection, self.dialect, partial(keep_copy, self.path)
                )
                connection.commit()
            finally:
                connection.roll_back_if_begun()
                connection.close()
        return done

    def open_connection(self, *, is_writer: bool) -> SqliteConnection:
        return SqliteConnection(open_existing_store_file(self.path, is_writer=is_writer), self.path)

    def read_server_clock(self, connection: StoreConnection) -> None:
        del connection  # there is none but that of the machine

    def write_backup(self, connection: StoreConnection, target: Path) -> None:
        if isinstance(connection, SqliteConnection):
            write_backup_to_new_file(connection.sqlite_connection, target)

    def translate_errors(self, activity: str) -> AbstractContextManager[None]:
        return store_database.translating_errors(self.path, activity)


# How the store's file is made and opened, and that one controller alone writes it.
#
# The file is in WAL mode with synchronous=FULL: what was committed survives a power loss, and
# readers see the last commit while a write goes on.

FILE_NAME = "controller.db"
LOCK_FILE_NAME = "controller.lock"
# A program that a killed controller was just starting keeps the lock until the system runs it.
_LOCK_SECONDS = 2.0
# Seconds that a statement waits for a lock of another process, such as one that makes a backup.
BUSY_TIMEOUT_SECONDS = 10.0


@contextmanager
def create_and_hold_data_folder(folder: Path) -> Iterator[None]:
    """Make a data folder if it is missing, and keep it for this process; LockHeld if it is taken.

    The system releases the lock when the process ends in any way, moments later where that was
    starting a program. Its file is never removed.
    """
    path = folder / LOCK_FILE_NAME
    with store_database.translating_errors(path, "Locking"):
        opening.make_own_folders(folder)
        descriptor = opening.open_own_file_with_flags(path, os.O_RDWR | os.O_CREAT)
    try:
        end = time.monotonic() + _LOCK_SECONDS
        while not _has_locked(descriptor):
            if time.monotonic() > end:
                holder = os.pread(descriptor, 40, 0).decode("ascii", "replace").strip()
                raise LockHeld.from_summary(
                    "Another controller uses this data folder",
                    f"{folder} is in use by {holder or 'another process'}.",
                    "Stop that controller first, or set a separate folder for this controller "
                    "with --data.",
                )
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _has_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def create_store_file(path: Path) -> None:
    """Make an empty store at a path; a file that is there is left as it is.

    It gets its name when it is complete, so that a process that is killed leaves none that is half
    made.
    """
    with store_database.translating_errors(path, "Making"):
        if opening.stat_own_file_or_none(path) is not None:
            return
        new_path = path.with_name(f"{path.name}.new")
        opening.remove_own_file(new_path)
        opening.create_own_file(new_path)
        with closing(_connect(new_path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA application_id = {store_schema.APPLICATION_ID}")
            for statement in store_schema.empty_store_statements(SQLITE_DIALECT):
                connection.execute(statement)
            connection.execute("COMMIT")
        opening.replace_own_file(path, new_path.name)
        opening.flush_own_folder_to_disk(path.parent)


def open_existing_store_file(path: Path, *, is_writer: bool) -> sqlite3.Connection:
    """A connection to the store at a path, without implicit transactions.

    ControllerStoreError for a file that is missing, of another program, with triggers or views, or
    of a newer format that this version may not write.
    """
    with store_database.translating_errors(path, "Opening"):
        file_stat = opening.stat_own_file_or_none(path)
        if file_stat is None:
            raise store_database.missing_store(store_database.build_file_location(path))
        for suffix in ("-wal", "-shm", "-journal"):
            opening.stat_own_file_or_none(path.with_name(path.name + suffix))
        connection = _connect(path)
        try:
            _require_same_file(path, file_stat)
            require_writable_format(connection, path)
            _require_no_triggers(connection, path)
            connection.create_function(MATCHES_PATTERN, 2, _matches_any, deterministic=True)
            if is_writer:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
            else:
                connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
        return connection


def write_backup_to_new_file(source: sqlite3.Connection, target: Path) -> None:
    """Copy a store as it is now to a file that is not there yet; ControllerStoreError if it is."""
    with store_database.translating_errors(target, "Writing"):
        try:
            opening.create_own_file(target)
        except FileExistsError:
            raise ControllerStoreError.from_summary(
                "The backup file already exists",
                f"{target} exists, and was not replaced.",
                "Choose a different file, or remove this file.",
            ) from None
        try:
            with closing(_connect(target)) as copy:
                source.backup(copy)
                # One file that needs no other beside it.
                copy.execute("PRAGMA journal_mode = DELETE")
        except BaseException:
            opening.remove_own_file(target)
            raise


def keep_copy(path: Path, old_format: int) -> str:
    """Copy the store before it gets another format, and say where; an earlier copy is replaced."""
    kept = path.with_name(f"{path.name}.format-{old_format}")
    new_path = kept.with_name(f"{kept.name}.new")
    opening.remove_own_file(new_path)
    # A connection that writes cannot be copied from.
    with closing(open_existing_store_file(path, is_writer=False)) as reader:
        write_backup_to_new_file(reader, new_path)
    opening.replace_own_file(kept, new_path.name)
    return f"; a copy of the old format: {kept}"


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,  # no implicit transactions: BEGIN and COMMIT are written out
        check_same_thread=False,
    )


def _matches_any(text: str, patterns_json: str) -> bool:
    return _compile_patterns(patterns_json).match(text) is not None


@lru_cache(maxsize=64)
def _compile_patterns(patterns_json: str) -> re.Pattern[str]:
    """One expression that matches what `fnmatchcase` matches with one of the patterns."""
    patterns = json.loads(patterns_json)
    # GLOB of SQLite has other rules for brackets.
    return re.compile("|".join(map(translate, patterns)) or r"(?!)")


def _require_same_file(path: Path, expected_stat: os.stat_result) -> None:
    current_stat = opening.stat_own_file_or_none(path)
    if current_stat is None or not os.path.samestat(current_stat, expected_stat):
        raise opening.build_untrusted_error(path, "was replaced while the controller opened it")


def _require_no_triggers(connection: sqlite3.Connection, path: Path) -> None:
    """ControllerStoreError for a trigger, which would change rows at each write, or a view."""
    others = "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index')"
    for kind, name in connection.execute(others):
        kind_name = "view" if kind == "view" else "trigger"
        raise store_database.damaged_store(
            store_database.build_file_location(path),
            f"its {kind_name} {name!a:.80} does not belong in a store",
        )


def require_writable_format(connection: sqlite3.Connection, path: Path) -> None:
    """ControllerStoreError for a file of another program, StoreTooNew for one of a newer format."""
    location = store_database.build_file_location(path)
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != store_schema.APPLICATION_ID:
        raise store_database.foreign_store(location, "is a database of another program")
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    store_schema.require_upgradable(meta, location)
