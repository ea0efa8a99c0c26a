"""How the rows of a state are held in memory, and which of them a transaction has changed.

Triggers note each row as it was before its first change, so that any statement may be run.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from synapse_apply.stores import schema, state_messages
from synapse_apply.stores.batch_log import Batch, RowChange, TableRows
from synapse_apply.stores.database import Row, SqlRunner, Statement
from synapse_apply.stores.sqlite import sqlite_messages
from synapse_apply.stores.sqlite.sqlite_database import make_checking_runner


class ReplicaRows:
    """The tables of a state in an SQLite database in memory, used by one thread at a time."""

    def __init__(self, tables: TableRows, location: str) -> None:
        """StateError (damaged) if these are not rows of a state. `location` is for messages."""
        self._location = location
        self._connection = _connect_to_memory()
        # A replica of a store that nobody closed holds no file, and goes with its last user.
        self._close_connection = weakref.finalize(self, self._connection.close)
        with self._as_damage():
            for statement in schema.CREATE_STATEMENTS:
                self._connection.execute(statement)
            for table, rows in tables.items():
                self._insert_rows(table, rows)
        _create_triggers(self._connection)

    def close(self) -> None:
        self._close_connection()

    @contextmanager
    def run_transaction(self, activity: str, *, keeps_changes: bool = True) -> Iterator[SqlRunner]:
        """Run statements of the block in a transaction; rolled back if the block raises.

        With `keeps_changes` False it is always rolled back. Errors become StateErrors, whose
        message begins with `activity`.
        """
        with (
            sqlite_messages.telling_state_errors(self._location, activity),
            self._transaction(keeps_changes=keeps_changes),
        ):
            yield make_checking_runner(self._connection, self._location)

    def collect_changes(self) -> tuple[RowChange, ...]:
        """The rows that differ from those before the present transaction."""
        return tuple(
            RowChange(table, key, row)
            for table in schema.TABLE_COLUMNS
            for key, row in self._changed_rows(table)
        )

    def apply_changes_of_batch(self, batch: Batch) -> None:
        """Carry out a batch that does not replace all, in a transaction; again is no difference.

        StateError (damaged) if its rows are not those of a state.
        """
        with self._as_damage(), self._transaction():
            # All old rows go first: two records may exchange their ids, which are unique.
            for change in batch.changes:
                key_column = schema.TABLE_COLUMNS[change.table][0]
                delete_row = f"DELETE FROM {change.table} WHERE {key_column} = ?"  # noqa: S608
                self._connection.execute(delete_row, (change.key,))
            for change in batch.changes:
                if change.row is not None:
                    self._connection.execute(schema.build_insert(change.table), change.row)

    def insert_missing_audit(self, rows: Sequence[Row]) -> None:
        """Insert rows of the audit table that are not there yet."""
        statement = "INSERT OR IGNORE INTO audit (seq, at, address, entry) VALUES (?, ?, ?, ?)"
        with self._as_damage(), self._transaction():
            self._connection.executemany(statement, rows)

    def read_tables(self) -> TableRows:
        """All rows of all tables."""
        return {
            table: self._connection.execute(schema.build_select_all_rows(table)).fetchall()
            for table in schema.TABLE_COLUMNS
        }

    def read_lock_id_or_empty(self) -> str:
        """The id in the lock row, "" without one."""
        rows = self._connection.execute(schema.GET_LOCK).fetchall()
        return str(rows[0][1]) if rows else ""

    def count_audit_rows(self) -> int:
        ((count,),) = self._connection.execute("SELECT COUNT(*) FROM audit")
        return int(count)

    def _insert_rows(self, table: str, rows: Iterable[Row]) -> None:
        self._connection.executemany(schema.build_insert(table), rows)

    def _changed_rows(self, table: str) -> Iterator[tuple[str | int, Row | None]]:
        columns = schema.TABLE_COLUMNS[table]
        now_columns = ", ".join(f"now.{column}" for column in columns)
        rows = self._connection.execute(
            f"SELECT before.*, {now_columns} FROM before_{table} AS before"  # noqa: S608
            f" LEFT JOIN {table} AS now ON now.{columns[0]} = before.row_key ORDER BY row_key"
        )
        for key, existed, *cells in rows.fetchall():
            old_row = tuple(cells[: len(columns)]) if existed else None
            # A column of the key is NULL if the join found no row.
            new_row = tuple(cells[len(columns) :]) if cells[len(columns)] is not None else None
            if old_row != new_row:
                yield key, new_row

    @contextmanager
    def _transaction(self, *, keeps_changes: bool = True) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
            # Temporary tables take part in the transaction: cleared before COMMIT, or by ROLLBACK.
            self._clear_captured()
            self._connection.execute("COMMIT" if keeps_changes else "ROLLBACK")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _clear_captured(self) -> None:
        for table in schema.TABLE_COLUMNS:
            self._connection.execute(f"DELETE FROM before_{table}")  # noqa: S608

    @contextmanager
    def _as_damage(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as problem:
            raise state_messages.build_damaged_state_error(
                self._location, f"a row does not fit: {problem}"
            ) from None


def rows_of_statements(statements: Sequence[Statement], location: str) -> TableRows:
    """The rows that these statements, CREATE TABLE included, leave behind in a new database."""
    connection = _connect_to_memory()
    try:
        with sqlite_messages.telling_state_errors(location, "Making"):
            for statement in statements:
                connection.execute(*statement)
            return {
                table: connection.execute(schema.build_select_all_rows(table)).fetchall()
                for table in schema.TABLE_COLUMNS
            }
    finally:
        connection.close()


def _connect_to_memory() -> sqlite3.Connection:
    """A new database, of which nothing is ever written to a file."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    # The tables of the triggers are temporary, and SQLite would write those to files.
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _create_triggers(connection: sqlite3.Connection) -> None:
    """For each table a temporary one for rows as they were, and the triggers that fill it."""
    for table, columns in schema.TABLE_COLUMNS.items():
        old_cells = ", ".join(f"OLD.{column}" for column in columns)
        # OR IGNORE: of several changes of a row only the first finds it as it was. A row that is
        # new has nothing to be noted but its key.
        note_new = (
            f"INSERT OR IGNORE INTO before_{table} (row_key, existed) VALUES (NEW.{columns[0]}, 0);"  # noqa: S608
        )
        note_old = (
            f"INSERT OR IGNORE INTO before_{table} VALUES (OLD.{columns[0]}, 1, {old_cells});"  # noqa: S608
        )
        connection.execute(
            f"CREATE TEMP TABLE before_{table} (row_key PRIMARY KEY, existed, {', '.join(columns)})"
        )
        # An UPDATE may change the key, and then both rows have changed: the old one is gone.
        for event, notes in (
            ("INSERT", note_new),
            ("DELETE", note_old),
            ("UPDATE", f"{note_old} {note_new}"),
        ):
            connection.execute(
                f"CREATE TEMP TRIGGER {table}_{event} AFTER {event} ON main.{table}"
                f" BEGIN {notes} END"
            )
