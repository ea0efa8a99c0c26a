"""The store in one SQLite file of a data folder: connections, transactions, backup."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from synapse_apply.controller.store import store_errors
from synapse_apply.controller.store.dialect import SQLITE_DIALECT
from synapse_apply.controller.store.store_database import StoreConnection
from synapse_apply.controller.store.store_file import (
    FILE_NAME,
    create_store_file,
    keep_copy,
    open_existing_store_file,
    require_writable_format,
    write_backup_to_new_file,
)
from synapse_apply.controller.store.store_upgrade import upgrade_tables_if_older_without_commit


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
                done = upgrade_tables_if_older_without_commit(
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

    def write_backup_or_raise_for_database(self, connection: StoreConnection, target: Path) -> None:
        if isinstance(connection, SqliteConnection):
            write_backup_to_new_file(connection.sqlite_connection, target)

    def translate_errors(self, activity: str) -> AbstractContextManager[None]:
        return store_errors.translating_errors(self.path, activity)
