"""How a state is stored in PostgreSQL: one schema for each state, and how a lost commit is settled.

All settings of a transaction are made inside it, so that a connection pooler may be used. Writers
queue at an advisory lock. A broken connection is opened again; if it broke during a commit, this
client's row in the table `clients` tells whether the transaction was committed. (A transaction id
would not: a server that crashed gives the id of a lost transaction to another one.)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any
from uuid import uuid4
from zlib import crc32

import psycopg
from psycopg import pq, sql

from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import replace
from synapse_apply.stores import schema
from synapse_apply.stores.database import BackupReview, Database, Row, SqlRunner, Statement, T
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.postgres import postgres_parameters
from synapse_apply.stores.postgres.postgres_parameters import (
    MAX_SECONDS,
    MissingTable,
    PostgresUnreachable,
    find_stranger,
    libpq_parameters,
    limit_connection,
    require_commit_parameters,
)
from synapse_apply.stores.postgres.postgres_url import PostgresLocation, parse_postgres_state_url
from synapse_apply.stores.snapshot import read_rows_as_inserts
from synapse_apply.stores.sql import SqlStore, utc_now
from synapse_apply.stores.sqlite.sqlite_database import statements_of_backup, write_new_state_file
from synapse_apply.stores.state_messages import MAKER, NOTHING_LOST_NOTE, fault

Connection = psycopg.Connection[Row]

# The first keys of our advisory locks: "SynA" in ASCII, and that number plus one. The second key
# is derived from the schema's name.
WRITERS_LOCK, MAKERS_LOCK = 0x53796E41, 0x53796E42

# The server ends a stopped client's transaction (20 s) before a waiting writer gives up (30 s).
# `synchronous_commit` is raised from off to on, since a commit that returns must be durable.
_BEGIN_READ = """
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL search_path TO {schema};
SET LOCAL idle_in_transaction_session_timeout TO '20s'
"""
_BEGIN_WRITE = """
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL search_path TO {schema};
SET LOCAL idle_in_transaction_session_timeout TO '20s';
SET LOCAL lock_timeout TO '30s';
SELECT pg_advisory_xact_lock({writers}, {key}),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)
"""
_CREATE_CLIENTS_TABLE = """
CREATE TABLE IF NOT EXISTS clients (
    client TEXT PRIMARY KEY,
    mark BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL
)
"""
_UPSERT_MARK = """
INSERT INTO clients (client, mark, at) VALUES ({client}, {mark}, now())
    ON CONFLICT (client) DO UPDATE SET mark = EXCLUDED.mark, at = EXCLUDED.at;
DELETE FROM clients WHERE {first} AND at < now() - INTERVAL '7 days'
"""


def make_unconnected_postgres_store(
    url: str,
    target: str,
    *,
    tool_version: str = "",
    now: Callable[[], str] = utc_now,
    runner: LockRunner | None = None,
    check_host: Callable[[str], object] | None = None,
    by_commit: bool = False,
) -> SqlStore:
    """The store at a URL for a target, not connected yet; InputError for an unusable URL.

    `by_commit`: a commit wrote the URL, which then has none of the operator's parameters.
    """
    location = parse_postgres_state_url(url, target)
    if by_commit:
        require_commit_parameters(location)
    return SqlStore(PostgresDatabase(location, check_host=check_host), tool_version, now, runner)


class PostgresDatabase(Database):
    """A Database (stores/database.py, which documents its methods): one connection at a time."""

    def __init__(
        self,
        state_location: PostgresLocation,
        patience: float = 10.0,
        max_seconds: float = MAX_SECONDS,
        check_host: Callable[[str], object] | None = None,
    ) -> None:
        """InputError as `libpq_parameters`, which has `check_host`, too.

        After a connection was lost, it is tried again for `patience` seconds. A transaction that
        takes longer than `max_seconds` is aborted.
        """
        self._state_location = state_location
        self.location = state_location.display_url
        self._parameters = libpq_parameters(state_location, check_host=check_host)
        self._patience = patience
        self._max_seconds = max_seconds
        self._client_id = str(uuid4())
        self._last_mark = 0
        self._template_values = {
            "schema": sql.Identifier(state_location.schema),
            "writers": sql.Literal(WRITERS_LOCK),
            "makers": sql.Literal(MAKERS_LOCK),
            "key": sql.Literal(crc32(state_location.schema.encode()) - 2**31),
            "client": sql.Literal(self._client_id),
        }
        self._connection_lock = RLock()
        self._connection: Connection | None = None
        self._was_reached = False

    def exists(self) -> bool:
        return self.read_in_snapshot(self._has_meta_table)

    def create_state_or_raise_if_exists(self, statements: Sequence[Statement]) -> None:
        def create_tables(run: SqlRunner) -> None:
            if self._has_meta_table(run):
                raise fault("exists", self.location)
            self._create_schema(run)
            _run_statements(statements, run)

        self._write_marked(create_tables, has_clients_table=False)

    def read_in_snapshot(
        self, work: Callable[[SqlRunner], T], *, requires_newest: bool = False
    ) -> T:
        del requires_newest  # always the newest
        return self._retry_lost(lambda: self._run_transaction(_BEGIN_READ, work, "Reading"))

    def write_in_transaction(self, work: Callable[[SqlRunner], T]) -> T:
        return self._write_marked(work, has_clients_table=True)

    @contextmanager
    def hold_creation_lock(self, operation: str) -> Iterator[None]:
        """Hold an advisory lock in a transaction on a connection of its own, which ends it."""
        with closing(self._open_connection()) as connection:
            with self._translating(connection, f"Locking for {operation}"):
                # The lock belongs to a transaction, not to a session, which a pooler would share.
                connection.execute("BEGIN")
                connection.execute("SET LOCAL idle_in_transaction_session_timeout TO 0")
                lock_query = self._fill_sql_template(
                    "SELECT pg_try_advisory_xact_lock({makers}, {key})"
                )
                result_rows = _make_postgres_runner(connection)(lock_query, ())
            if result_rows != [(True,)]:
                raise fault("held", self.location, owner=MAKER)
            yield

    def write_backup(self, path: str) -> None:
        if os.path.lexists(path):
            raise fault("backup exists", path)
        write_new_state_file(self.read_in_snapshot(read_rows_as_inserts), Path(path))

    def replace_from_backup(
        self, source: str, check_backup: BackupReview, kept_path_unless_beside_file: str | None
    ) -> str:
        """The replaced state is written to the path as a backup, unless it cannot be read."""
        statements = statements_of_backup(source, check_backup)
        saved_path = ""
        if kept_path_unless_beside_file and (old_rows := self._read_insert_statements()):
            saved_path = str(write_new_state_file(old_rows, Path(kept_path_unless_beside_file)))

        def replace_tables(run: SqlRunner) -> None:
            if self._has_meta_table(run):
                # Fails if `meta` is a table of another program, which must not be dropped.
                run("SELECT format, lineage FROM meta", ())
            self._create_schema(run)
            for table in schema.TABLE_COLUMNS:
                run(f"DROP TABLE IF EXISTS {table}", ())
            _run_statements([*schema.CREATE_TABLES, *statements], run)

        self._write_marked(replace_tables, has_clients_table=False)
        return saved_path

    def _read_insert_statements(self) -> list[Statement]:
        """All rows as INSERT statements; [] if they are unreadable, which a restore may repair.

        PostgresUnreachable is raised: the rows may be intact.
        """
        try:
            return self.read_in_snapshot(read_rows_as_inserts)
        except PostgresUnreachable:
            raise
        except StateError:
            return []

    def close(self) -> None:
        with self._connection_lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _has_meta_table(self, run: SqlRunner) -> bool:
        name = sql.Identifier(self._state_location.schema, "meta").as_string(None)
        return run("SELECT to_regclass(?) IS NOT NULL", (name,)) == [(True,)]

    def _create_schema(self, run: SqlRunner) -> None:
        # One that came after the connection was opened is as little a stranger's.
        self._require_no_stranger(self._connect_if_needed())
        # CREATE SCHEMA IF NOT EXISTS needs the right to create one even if it exists.
        if not run("SELECT 1 FROM pg_namespace WHERE nspname = ?", (self._state_location.schema,)):
            run(self._fill_sql_template("CREATE SCHEMA {schema}"), ())
        run(_CREATE_CLIENTS_TABLE, ())

    def _retry_lost(self, attempt: Callable[[], T]) -> T:
        """Run the attempt again while the server is unreachable, for `patience` seconds.

        Not before a first success: a wrong host is reported at once. An attempt raises
        PostgresUnreachable only if nothing of it was committed.
        """
        deadline = time.monotonic() + self._patience
        pause_seconds = 0.05
        with self._connection_lock:
            while True:
                try:
                    return attempt()
                except PostgresUnreachable:
                    self.close()
                    if not self._was_reached or time.monotonic() + pause_seconds > deadline:
                        # The lock's release, which follows, must not wait in vain a second time.
                        self._was_reached = False
                        raise
                time.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, 1.0)

    def _write_marked(self, work: Callable[[SqlRunner], T], *, has_clients_table: bool) -> T:
        """Run the work in a transaction that also stores a new mark in this client's row.

        The mark is stored first, in the same round trip as BEGIN, unless the work itself creates
        the table (`has_clients_table` False).
        """

        def work_and_mark(run: SqlRunner) -> T:
            result = work(run)
            run(self._fill_sql_template(_UPSERT_MARK), ())
            return result

        def attempt_write() -> T:
            self._last_mark += 1
            if has_clients_table:
                return self._run_transaction(
                    f"{_BEGIN_WRITE}; {_UPSERT_MARK}", work, "Writing", self._last_mark
                )
            return self._run_transaction(_BEGIN_WRITE, work_and_mark, "Writing", self._last_mark)

        with self._connection_lock:
            return self._retry_lost(attempt_write)

    def _fill_sql_template(self, template: str) -> str:
        mark, first = sql.Literal(self._last_mark), sql.Literal(self._last_mark == 1)
        composed = sql.SQL(template).format(**self._template_values, mark=mark, first=first)
        return composed.as_string(None)

    def _run_transaction(
        self, begin_template: str, work: Callable[[SqlRunner], T], activity: str, mark: int = 0
    ) -> T:
        """Begin, run the work and commit; rolled back if the work raises.

        `mark` is the number that the transaction stores, 0 if it only reads.
        """
        connection = self._connect_if_needed()
        try:
            with self._translating(connection, activity):
                run = _make_postgres_runner(connection)
                run(self._fill_sql_template(begin_template), ())
                result = work(run)
        except MissingTable:
            self._roll_back_or_close(connection)
            # Without any table there is no state; with some of them it is damaged.
            if self.exists():
                raise
            raise fault("missing", self.location) from None
        except BaseException:
            self._roll_back_or_close(connection)
            raise
        self._commit(connection, mark, activity)
        self._was_reached = True
        return result

    def _commit(self, connection: Connection, mark: int, activity: str) -> None:
        """Commit; if the connection breaks meanwhile, raise only if nothing was committed."""
        try:
            with self._translating(connection, activity):
                connection.execute("COMMIT")
        except PostgresUnreachable:
            self.close()
            # A read (mark 0) has all its results already.
            if mark and not self._was_mark_committed(mark):
                raise
        except BaseException:
            self._roll_back_or_close(connection)
            raise

    def _was_mark_committed(self, mark: int) -> bool:
        """Whether the transaction that stores this mark was committed.

        Takes the writers' lock, and so waits until that transaction has ended. StateError if the
        server cannot be asked.
        """

        def is_mark_stored(run: SqlRunner) -> bool:
            if not self._has_meta_table(run):
                return False
            mark_rows = run("SELECT mark FROM clients WHERE client = ?", (self._client_id,))
            return mark_rows == [(mark,)]

        try:
            return self._retry_lost(
                lambda: self._run_transaction(_BEGIN_WRITE, is_mark_stored, "Reading")
            )
        except StateError:
            raise StateError.from_summary(
                "It is unknown whether the last write was recorded",
                f"The connection to {self.location} broke during the commit, and the server did "
                "not report the outcome.",
                Text(
                    "After the server is running again: ",
                    Command("apply"),
                    ". The command looks up the calls that were in progress.",
                ),
            ) from None

    def _roll_back_or_close(self, connection: Connection) -> None:
        """Roll back; closes a connection on which that fails."""
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")
        if connection.info.transaction_status != pq.TransactionStatus.IDLE:
            self.close()

    def _connect_if_needed(self) -> Connection:
        if self._connection is None:
            connection = self._open_connection()
            try:
                with self._translating(connection, "Reading"):
                    self._require_no_stranger(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _require_no_stranger(self, connection: Connection) -> None:
        tables = (*schema.TABLE_COLUMNS, "clients")
        if stranger := find_stranger(connection, self._state_location.schema, tables):
            raise StateError(replace(stranger, detail=f"{self.location}: {stranger.detail}"))

    def _open_connection(self) -> Connection:
        try:
            # No prepared statements: a pooler may use another server process for each transaction.
            return psycopg.connect(**self._parameters, autocommit=True, prepare_threshold=None)
        except psycopg.Error as problem:
            finding = postgres_parameters.build_connection_error(problem, self._state_location)
        # Outside of the handler: the library's exception, which is not chained, may quote the URL.
        raise finding

    @contextmanager
    def _translating(self, connection: Connection, activity: str) -> Iterator[None]:
        """Turn errors of the block into StateErrors; abort it after `max_seconds`."""
        try:
            with limit_connection(connection, self._max_seconds):
                yield
        except psycopg.Error as problem:
            has_ended = connection.closed or postgres_parameters.has_ended_connection(problem)
            if has_ended and not isinstance(problem, postgres_parameters.AnswerTooLong):
                finding: StateError = PostgresUnreachable.from_summary(
                    "The connection to the state's database was lost",
                    f"{activity} {self.location}: the server ended the connection.",
                    f"Check that the server is running, then try again. {NOTHING_LOST_NOTE}",
                )
            else:
                finding = postgres_parameters.build_statement_error(
                    problem, self._state_location, activity
                )
            raise finding from None
        except UnicodeEncodeError:
            raise fault(
                "unstorable", self.location, reason="a string is not valid Unicode"
            ) from None


def _make_postgres_runner(connection: Connection) -> SqlRunner:
    def run_statement(statement: str, values: Sequence[Any]) -> list[Row]:
        cursor = connection.execute(statement.replace("?", "%s").encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    return run_statement


def _run_statements(statements: Sequence[Statement], run: SqlRunner) -> None:
    for statement, values in statements:
        run(statement, values)
