"""How a shared log of batches serves as a database: a replica in memory, and one batch a write.

A write is run on the replica, frozen as a batch and appended. If another batch was faster, the
write is undone, what was appended is read, and the write is run again: its own check of the lock
row then tells that the lock is lost.

How the rows of a state are held in memory, and which of them a transaction has changed. Triggers
note each row as it was before its first change, so that any statement may be run.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import NamedTuple
from uuid import uuid4

from synapse_apply.model.diagnostic import Diagnostic, Severity
from synapse_apply.model.errors import LockHeld, LockLost, StateError
from synapse_apply.stores import schema
from synapse_apply.stores.database import (
    AppendedBatch,
    BackupReview,
    Batch,
    BatchLog,
    BatchNotSent,
    DamagedLog,
    Database,
    LogReading,
    OwnerSign,
    Row,
    RowChange,
    SqlRunner,
    Statement,
    T,
    TableRows,
    WritePacer,
)
from synapse_apply.stores.snapshot import read_rows_as_inserts
from synapse_apply.stores.sqlite.sqlite_database import (
    make_checking_runner,
    statements_of_backup,
    telling_state_errors,
    transaction,
    write_new_state_file,
)
from synapse_apply.stores.state_messages import MAKER, fault

_CLEAR_CAPTURED = [f"DELETE FROM before_{table}" for table in schema.TABLE_COLUMNS]  # noqa: S608


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
                self._connection.executemany(schema.build_insert(table), rows)
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
            telling_state_errors(self._location, activity),
            self._transaction(keeps_changes=keeps_changes),
        ):
            yield make_checking_runner(self._connection, self._location)

    def collect_changes(self) -> tuple[RowChange, ...]:
        """The rows that differ from those before the present transaction."""
        changes = []
        for table, columns in schema.TABLE_COLUMNS.items():
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
                    changes.append(RowChange(table, key, new_row))
        return tuple(changes)

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
        return _read_tables(self._connection)

    def lock_id(self) -> str:
        """The id in the lock row, "" without one."""
        rows = self._connection.execute(schema.GET_LOCK).fetchall()
        return str(rows[0][1]) if rows else ""

    def count_audit_rows(self) -> int:
        ((count,),) = self._connection.execute("SELECT COUNT(*) FROM audit")
        return int(count)

    def _transaction(self, *, keeps_changes: bool = True) -> AbstractContextManager[None]:
        # Temporary tables take part in the transaction: cleared before COMMIT, or by ROLLBACK.
        return transaction(
            self._connection, "BEGIN", *_CLEAR_CAPTURED, "COMMIT" if keeps_changes else "ROLLBACK"
        )

    @contextmanager
    def _as_damage(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as problem:
            raise fault(
                "damaged", self._location, reason=f"a row does not fit: {problem}"
            ) from None


def rows_of_statements(statements: Sequence[Statement], location: str) -> TableRows:
    """The rows that these statements, CREATE TABLE included, leave behind in a new database."""
    with closing(_connect_to_memory()) as connection, telling_state_errors(location, "Making"):
        for statement in statements:
            connection.execute(*statement)
        return _read_tables(connection)


def _read_tables(connection: sqlite3.Connection) -> TableRows:
    return {
        table: connection.execute(schema.build_select_all_rows(table)).fetchall()
        for table in schema.TABLE_COLUMNS
    }


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


# So many batches of others in a row make a write give up; each of them was a success of somebody.
_MAX_ATTEMPTS = 50


class _PendingBatch(NamedTuple):
    """A batch of which it is unknown whether it was appended behind `position`."""

    batch: Batch
    position: str


class _BatchRefused(Exception):
    """Another batch follows the position; the transaction is to be rolled back and run again."""


class _OlderAuditNeeded(Exception):
    """A statement reads rows of the audit table that were not fetched yet."""


class ReplicaDatabase(Database):
    """A Database (stores/database.py, which documents its methods) over a BatchLog."""

    is_signed = True

    def __init__(self, log: BatchLog, fresh_seconds: float = 0.0) -> None:
        """Nothing is read yet.

        What was read stays good enough to look at for `fresh_seconds`: the commands that only look
        ask for one thing after the other.
        """
        self.location, self.lease_timing = log.location, log.lease_timing
        self.pacer = WritePacer(log.write_pace)
        self._log = log
        self._fresh_seconds = fresh_seconds
        self._caught_up_at: float | None = None
        # One thread at a time; also while a batch is on its way, since what follows depends on it.
        self._turn = RLock()
        self._rows: ReplicaRows | None = None
        self._position = ""
        self._owner_lease_seconds: float | None = None
        self._lacks_older_audit = False
        self._pending: _PendingBatch | None = None
        # The lock that a batch of this process took; and whether the last batch is this process's.
        self._own_lock_id = ""
        self._is_end_own = False

    @property
    def bookmark(self) -> str:
        with self._turn:
            return self._log.bookmark

    def require_continuation_in_reads(self, bookmark: str) -> None:
        self._log.require_continuation_in_reads(bookmark)

    @property
    def owner_sign(self) -> OwnerSign:
        return OwnerSign(self._position, self._owner_lease_seconds)

    def exists(self) -> bool:
        with self._turn:
            if not self._position:
                try:
                    self._catch_up_with_log()
                except StateError:
                    # What cannot be read exists all the same: else a second state would be made
                    # over it.
                    return self._log.exists()
            return bool(self._position)

    def create_state_or_raise_if_exists(self, statements: Sequence[Statement]) -> None:
        with self._turn:
            new_tables = rows_of_statements(statements, self.location)
            damage = self._catch_up()
            exists = bool(self._position) if damage is None else self._log.exists()
            # Damage where nothing is: there was a log, and its numbers must not begin anew.
            if exists or not self._append_replacing(new_tables, after_damage=bool(damage)):
                raise fault("exists", self.location)

    def read_in_snapshot(
        self, work: Callable[[SqlRunner], T], *, requires_newest: bool = False
    ) -> T:
        with self._turn:
            self._catch_up_if_due(requires_newest=requires_newest)
            return self._fetching_older_audit(lambda: self._run("Reading", work))

    def write_in_transaction(self, work: Callable[[SqlRunner], T]) -> T:
        with self._turn:
            for _ in range(_MAX_ATTEMPTS):
                self._catch_up_if_due()
                try:
                    return self._fetching_older_audit(lambda: self._write(work))
                except _BatchRefused:
                    self._is_end_own, self._caught_up_at = False, None
            raise fault(
                "busy",
                self.location,
                activity="Writing",
                reason="other processes wrote first",
                hint="Try again.",
            )

    @contextmanager
    def hold_creation_lock(self, operation: str) -> Iterator[None]:
        """Hold nothing: the first batch is appended to an empty log only."""
        del operation
        yield

    def write_backup(self, path: str) -> None:
        if os.path.lexists(path):
            raise fault("backup exists", path)
        damage: DamagedLog | None = None
        try:
            statements = self.read_in_snapshot(read_rows_as_inserts)
        except DamagedLog as problem:
            damage = problem
            with self._turn:
                # Outside of the lock nobody may see what was read before the damage: the replica
                # is forgotten.
                statements = self._read_insert_statements(damage)
                self._forget_replica()
            if not statements:
                raise
        write_new_state_file(statements, Path(path))
        if damage is not None:
            raise DamagedLog(
                *damage.diagnostics,
                Diagnostic(
                    Severity.NOTE,
                    "The readable part of the state was written",
                    f"{path} contains the state from before that.",
                ),
            )

    def replace_from_backup(
        self, source: str, check_backup: BackupReview, kept_path_unless_beside_file: str | None
    ) -> str:
        """The replaced state is written to the path as a backup: what can be read of it."""
        with self._turn:
            damage = self._catch_up()
            # What the check has seen of the log is what is replaced: the batch follows that.
            statements = statements_of_backup(source, check_backup)
            new_tables = rows_of_statements([*schema.CREATE_TABLES, *statements], self.location)
            # Asked first: reading the rows before the damage moves the replica to where they end.
            was_lock_owner = damage is None and self._owns_lock_at_end()
            saved_path = ""
            if kept_path_unless_beside_file and (old_rows := self._read_insert_statements(damage)):
                saved_path = str(write_new_state_file(old_rows, Path(kept_path_unless_beside_file)))
            if not self._append_replacing(new_tables, after_damage=damage is not None):
                if was_lock_owner:
                    raise fault("taken over", self.location, owner="Another process")
                raise fault("held", self.location, owner=MAKER)
        return saved_path

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        return self._log.list_warnings()

    def close(self) -> None:
        with self._turn:
            if self._pending is None:
                self._forget_replica()
            self._log.close()

    def _run(
        self, activity: str, work: Callable[[SqlRunner], T], *, keeps_changes: bool = True
    ) -> T:
        with self._require_rows().run_transaction(activity, keeps_changes=keeps_changes) as run:
            return work(self._requiring_audit(run))

    def _write(self, work: Callable[[SqlRunner], T]) -> T:
        """Run the work and append what it changed; _BatchRefused if another batch was faster."""
        rows = self._require_rows()
        lock_id_before = rows.lock_id()
        with rows.run_transaction("Writing") as run:
            result = work(self._requiring_audit(run))
            changes = rows.collect_changes()
            if not changes:
                return result
            batch = self._build_batch(changes, lock_id_before, rows.lock_id())
            appended = self._append(_PendingBatch(batch, self._position))
            if appended is None:
                raise _BatchRefused
        self._adopt(batch, appended)
        if not appended.is_last:
            # What the work wrote is part of the log, so that it is not written again; its own
            # check of the lock row is, now that other batches follow.
            self._catch_up_with_log()
            try:
                self._run("Writing", work, keeps_changes=False)
            except (LockLost, LockHeld):
                raise
            # The work was done once: that it cannot be done again, as its intent is open by now,
            # is right.
            except (_OlderAuditNeeded, StateError):
                pass
        return result

    def _append_replacing(self, new_tables: TableRows, *, after_damage: bool = False) -> bool:
        """Append a batch that replaces all rows; False if another batch was faster."""
        changes = tuple(
            RowChange(table, row[0], row) for table, rows in new_tables.items() for row in rows
        )
        lock_id_before = self._rows.lock_id() if self._rows is not None else ""
        lock_rows = new_tables.get("lock", ())
        lock_id = str(lock_rows[0][1]) if lock_rows else ""
        batch = self._build_batch(changes, lock_id_before, lock_id, replaces_all=True)
        if after_damage:
            self._forget_replica()
            appended = self._log.restart_after_damage_unless_overtaken(batch)
        else:
            appended = self._append(_PendingBatch(batch, self._position))
        self._is_end_own, self._caught_up_at = False, None
        if appended is None:
            return False
        self._apply_batch(batch)
        self._adopt(batch, appended)
        return True

    def _build_batch(
        self,
        changes: tuple[RowChange, ...],
        lock_id_before: str,
        lock_id: str,
        *,
        replaces_all: bool = False,
    ) -> Batch:
        return Batch(
            str(uuid4()),
            changes,
            replaces_all=replaces_all,
            lock_id=lock_id,
            takes_lock=lock_id not in ("", lock_id_before),
            # Links around the end of a lock that was not given back are kept for ever
            # (chain/link_format.py).
            ends_foreign_lock=lock_id_before not in ("", lock_id, self._own_lock_id),
        )

    def _append(self, pending: _PendingBatch) -> AppendedBatch | None:
        """Append a batch, which stays pending until it is known what became of it."""
        self.pacer.count_write()
        self._pending = pending
        try:
            appended = self._log.append_or_none_if_overtaken(pending.batch, pending.position)
        # It certainly is not there, so that there is nothing to settle.
        except BatchNotSent:
            self._pending = None
            raise
        if appended is None:
            self._pending = None
        return appended

    def _adopt(self, batch: Batch, appended: AppendedBatch) -> None:
        """Take note that the replica, which has this batch, is as far as the log."""
        self._position = appended.position
        if batch.takes_lock:
            self._own_lock_id = batch.lock_id
            self._owner_lease_seconds = self._log.lease_timing.lease_seconds
        self._is_end_own = appended.is_last
        self._caught_up_at = None
        self._pending = None
        if appended.is_last and self._rows is not None:
            self._log.compact_if_due(self._position, self._rows.read_tables)

    def _settle_pending(self) -> None:
        """Find out what became of a batch whose outcome is unknown; StateError while it stays so.

        Nothing else is appended before: the same batch could still arrive.
        """
        if self._pending is None:
            return
        batch = self._pending.batch
        appended = self._append(self._pending)
        self._is_end_own, self._caught_up_at = False, None
        if appended is not None and (batch.replaces_all or self._rows is not None):
            self._apply_batch(batch)
            self._adopt(batch, appended)
        self._pending = None

    def _owns_lock_at_end(self) -> bool:
        """Whether the replica is at the end of the log and its lock row is this process's."""
        return (
            self._is_end_own
            and self._rows is not None
            and bool(self._own_lock_id)
            and self._rows.lock_id() == self._own_lock_id
        )

    def _catch_up_if_due(self, *, requires_newest: bool = False) -> None:
        """Read what others appended; who owns the lock learns of it when it appends.

        So does whoever writes to a replica that was fresh: its batch is refused.
        """
        self._settle_pending()
        if self._owns_lock_at_end():
            return
        is_fresh = (
            self._caught_up_at is not None
            and self._rows is not None
            and self.lease_timing.boottime() - self._caught_up_at < self._fresh_seconds
        )
        if requires_newest or not is_fresh:
            self._catch_up_with_log()

    def _catch_up(self) -> DamagedLog | None:
        try:
            self._catch_up_if_due()
        except DamagedLog as damage:
            return damage
        return None

    def _catch_up_with_log(self) -> None:
        # Before the reading: what is appended while it goes on is not part of it.
        started_at = self.lease_timing.boottime()
        reading = self._log.read_since_position_or_anew(self._position)
        try:
            self._apply_reading(reading)
        except BaseException as problem:
            # Half of a reading is no state: the next one begins anew.
            self._forget_replica()
            if isinstance(problem, StateError):
                raise DamagedLog(*problem.diagnostics) from None
            raise
        # Others are at the end now, so that the lock has to be looked at again.
        if reading.tables is not None or reading.batches:
            self._is_end_own = False
        self._owner_lease_seconds = reading.owner_lease_seconds
        self._caught_up_at = started_at

    def _apply_reading(self, reading: LogReading) -> None:
        if reading.tables is not None:
            self._replace_rows(reading.tables)
            self._lacks_older_audit = True
        for batch in reading.batches:
            self._apply_batch(batch)
        self._position = reading.position

    def _apply_batch(self, batch: Batch) -> None:
        if not batch.replaces_all:
            if self._rows is not None:
                self._rows.apply_changes_of_batch(batch)
            return
        tables: dict[str, list[Row]] = {}
        for change in batch.changes:
            if change.row is not None:
                tables.setdefault(change.table, []).append(change.row)
        self._replace_rows(tables)
        self._lacks_older_audit = False

    def _replace_rows(self, tables: TableRows) -> None:
        new_rows = ReplicaRows(tables, self.location)
        if self._rows is not None:
            self._rows.close()
        self._rows = new_rows

    def _forget_replica(self) -> None:
        if self._rows is not None:
            self._rows.close()
        self._rows, self._position, self._is_end_own = None, "", False

    def _require_rows(self) -> ReplicaRows:
        if self._rows is None or not self._position:
            raise fault("missing", self.location)
        return self._rows

    def _read_insert_statements(self, damage: DamagedLog | None) -> list[Statement]:
        """All rows as INSERT statements, of a damaged log those before the damage; [] for none."""
        try:
            if damage is not None:
                self._apply_reading(damage.reading._replace(tables=damage.reading.tables or {}))
                with suppress(StateError):
                    self._fetch_older_audit()
                # Without them, if they are lost too.
                self._lacks_older_audit = False
            return self._fetching_older_audit(lambda: self._run("Reading", read_rows_as_inserts))
        except StateError:
            return []

    def _fetching_older_audit(self, run_transaction: Callable[[], T]) -> T:
        """Run a transaction; once more with all audit rows, if a statement needs them."""
        try:
            return run_transaction()
        # Nearly no command reads old audit rows, and each object of them is a request.
        except _OlderAuditNeeded:
            self._fetch_older_audit()
        return run_transaction()

    def _fetch_older_audit(self) -> None:
        self._require_rows().insert_missing_audit(self._log.read_audit_rows_not_read_yet())
        self._lacks_older_audit = False

    def _requiring_audit(self, run: SqlRunner) -> SqlRunner:
        """The runner, which raises _OlderAuditNeeded for what needs rows that are not here."""
        if not self._lacks_older_audit:
            return run

        def run_statement(statement: str, values: Sequence[object]) -> list[Row]:
            if statement in _READS_ALL_AUDIT or (
                statement == schema.NEWEST_AUDIT
                and int(str(values[0])) > self._require_rows().count_audit_rows()
            ):
                raise _OlderAuditNeeded
            return run(statement, values)

        return run_statement


_READS_ALL_AUDIT = frozenset((schema.ALL_AUDIT, schema.build_select_all_rows("audit")))
