"""The state store in PostgreSQL, for teams and CI runners: one schema a state.

Everything a transaction needs is set inside it, so that a pooler may stand between. Writers stand
in line at an advisory lock, as they do at a SQLite file. A connection that breaks is made anew;
where it broke in a commit, our own row among the clients tells what became of that transaction.
(Its number would not: a server that crashed gives the number of what it lost to another.)
"""

from __future__ import annotations

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

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import StateError
from synapse_apply.stores import faults, postgres_faults, schema, sqlite_faults
from synapse_apply.stores.contents import all_rows
from synapse_apply.stores.database import Row, Run, Statement, T
from synapse_apply.stores.lock import Runner
from synapse_apply.stores.postgres_faults import NoTable, Unreachable
from synapse_apply.stores.postgres_parameters import parameters
from synapse_apply.stores.postgres_url import Place, place
from synapse_apply.stores.postgres_watch import LONGEST, watched
from synapse_apply.stores.sql import SqlStore, utc_now
from synapse_apply.stores.sqlite import opened_backup, written
from synapse_apply.stores.sqlite import runner as sqlite_runner

Connection = psycopg.Connection[Row]

# The first halves of our advisory locks: "SynA" in ASCII, and the number after it.
WRITERS, MAKERS = 0x53796E41, 0x53796E42

# A stopped client's transaction is ended by the server before the next writer gives up waiting.
_READ = """
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL search_path TO {schema};
SET LOCAL idle_in_transaction_session_timeout TO '20s'
"""
_WRITE = """
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL search_path TO {schema};
SET LOCAL idle_in_transaction_session_timeout TO '20s';
SET LOCAL lock_timeout TO '30s';
SELECT pg_advisory_xact_lock({writers}, {key}),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)
"""
_CLIENTS = """
CREATE TABLE IF NOT EXISTS clients (
    client TEXT PRIMARY KEY,
    mark BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL
)
"""
_MARK = """
INSERT INTO clients (client, mark, at) VALUES ({client}, {mark}, now())
    ON CONFLICT (client) DO UPDATE SET mark = EXCLUDED.mark, at = EXCLUDED.at;
DELETE FROM clients WHERE {first} AND at < now() - INTERVAL '7 days'
"""


def open_postgres(
    url: str,
    target: str,
    *,
    tool_version: str = "",
    now: Callable[[], str] = utc_now,
    runner: Runner | None = None,
) -> SqlStore:
    """The store that a URL names for a target; nothing is connected yet. InputError in words."""
    return SqlStore(PostgresDatabase(place(url, target)), tool_version, now, runner)


class PostgresDatabase:
    """A Database (stores/database.py): one connection, one thread at a time.

    For `patience` seconds a connection that was there before is tried again. No answer is waited
    for longer than `longest` seconds.
    """

    def __init__(self, at: Place, patience: float = 10.0, longest: float = LONGEST) -> None:
        """InputError for a URL that the client library does not understand."""
        self._place = at
        self._parameters = parameters(at)
        self._patience = patience
        self._longest = longest
        self._client = str(uuid4())
        self._mark = 0
        self._names = {
            "schema": sql.Identifier(at.schema),
            "writers": sql.Literal(WRITERS),
            "makers": sql.Literal(MAKERS),
            "key": sql.Literal(crc32(at.schema.encode()) - 2**31),
            "client": sql.Literal(self._client),
        }
        self._turn = RLock()
        self._connection: Connection | None = None
        self._known = False

    @property
    def where(self) -> str:
        return self._place.where

    def exists(self) -> bool:
        return self.read(self._is_there)

    def create(self, statements: Sequence[Statement]) -> None:
        def work(run: Run) -> None:
            if self._is_there(run):
                raise faults.exists(self.where)
            self._make_schema(run)
            _carry_out(statements, run)

        self._write(work, in_place=False)

    def read(self, work: Callable[[Run], T]) -> T:
        return self._persist(lambda: self._once(_READ, work, "Reading"))

    def write(self, work: Callable[[Run], T]) -> T:
        return self._write(work, in_place=True)

    @contextmanager
    def alone(self, operation: str) -> Iterator[None]:
        """By a transaction of its own that ends with its connection."""
        with closing(self._connect()) as connection:
            with self._in_words(connection, f"Locking for {operation}"):
                connection.execute("BEGIN")
                connection.execute("SET LOCAL idle_in_transaction_session_timeout TO 0")
                asked = self._text("SELECT pg_try_advisory_xact_lock({makers}, {key})")
                got = _runner(connection)(asked, ())
            if got != [(True,)]:
                raise faults.held(self.where, "Another process that makes or restores a state")
            yield

    def backup(self, to: str) -> None:
        if Path(to).exists():
            raise faults.backup_exists(to)
        written(self.read(all_rows), Path(to))

    def replace(
        self, source: str, check: Callable[[Run], Sequence[Statement]], keep: str = ""
    ) -> str:
        """What was here is kept as a backup is, unless it cannot be read."""
        with opened_backup(source) as connection, sqlite_faults.in_words(source, "Reading"):
            backup = sqlite_runner(connection, source)
            statements = [*all_rows(backup), *check(backup)]

        kept = str(written(rows, Path(keep))) if keep and (rows := self._readable()) else ""

        def work(run: Run) -> None:
            if self._is_there(run):
                run("SELECT format, lineage FROM meta", ())  # not another program's
            self._make_schema(run)
            for table in schema.COLUMNS:
                run(f"DROP TABLE IF EXISTS {table}", ())
            for table in schema.TABLES:
                run(table, ())
            _carry_out(statements, run)

        self._write(work, in_place=False)
        return kept

    def _readable(self) -> list[Statement]:
        """All rows that are here, none where they cannot be read: a restore is for that, too."""
        try:
            return self.read(all_rows)
        except Unreachable:
            raise
        except StateError:
            return []

    def warnings(self) -> tuple[Diagnostic, ...]:
        return ()

    def close(self) -> None:
        with self._turn:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _is_there(self, run: Run) -> bool:
        name = sql.Identifier(self._place.schema, "meta").as_string(None)
        return run("SELECT to_regclass(?) IS NOT NULL", (name,)) == [(True,)]

    def _make_schema(self, run: Run) -> None:
        # CREATE SCHEMA IF NOT EXISTS asks for the right to make one also where it exists.
        if not run("SELECT 1 FROM pg_namespace WHERE nspname = ?", (self._place.schema,)):
            run(self._text("CREATE SCHEMA {schema}"), ())
        run(_CLIENTS, ())

    def _persist(self, attempt: Callable[[], T]) -> T:
        """Again and again while the server is away, where nothing of an attempt was kept."""
        until = time.monotonic() + self._patience
        pause = 0.05
        with self._turn:
            while True:
                try:
                    return attempt()
                except Unreachable:
                    self.close()
                    if not self._known or time.monotonic() + pause > until:
                        # Who has waited in vain once does not wait again, to give a lock back.
                        self._known = False
                        raise
                time.sleep(pause)
                pause = min(2 * pause, 1.0)

    def _write(self, work: Callable[[Run], T], *, in_place: bool) -> T:
        """With `in_place` the table of our mark is there before the work begins."""

        def marked(run: Run) -> T:
            result = work(run)
            run(self._text(_MARK), ())
            return result

        def attempt() -> T:
            self._mark += 1
            if in_place:
                return self._once(f"{_WRITE}; {_MARK}", work, "Writing", self._mark)
            return self._once(_WRITE, marked, "Writing", self._mark)

        with self._turn:
            return self._persist(attempt)

    def _text(self, template: str) -> str:
        mark, first = sql.Literal(self._mark), sql.Literal(self._mark == 1)
        made = sql.SQL(template).format(**self._names, mark=mark, first=first)
        return made.as_string(None)

    def _once(self, begin: str, work: Callable[[Run], T], doing: str, mark: int = 0) -> T:
        connection = self._current()
        try:
            with self._in_words(connection, doing):
                run = _runner(connection)
                run(self._text(begin), ())
                result = work(run)
        except NoTable:
            self._undo(connection)
            if self.exists():
                raise
            raise faults.missing(self.where) from None
        except BaseException:
            self._undo(connection)
            raise
        self._commit(connection, mark, doing)
        self._known = True
        return result

    def _commit(self, connection: Connection, mark: int, doing: str) -> None:
        try:
            with self._in_words(connection, doing):
                connection.execute("COMMIT")
        except Unreachable:
            self.close()
            # Of a snapshot all was read.
            if mark and not self._was_kept(mark):
                raise
        except BaseException:
            self._undo(connection)
            raise

    def _was_kept(self, mark: int) -> bool:
        """Whether a transaction whose end we did not hear of was committed. Waits for its end."""

        def ask(run: Run) -> bool:
            if not self._is_there(run):
                return False
            found = run("SELECT mark FROM clients WHERE client = ?", (self._client,))
            return found == [(mark,)]

        try:
            return self._persist(lambda: self._once(_WRITE, ask, "Reading"))
        except StateError:
            raise postgres_faults.fate_unknown(self.where) from None

    def _undo(self, connection: Connection) -> None:
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")
        if connection.info.transaction_status != pq.TransactionStatus.IDLE:
            self.close()

    def _current(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> Connection:
        try:
            # A pooler may give each transaction another server process: nothing is prepared.
            return psycopg.connect(**self._parameters, autocommit=True, prepare_threshold=None)
        except psycopg.Error as problem:
            finding = postgres_faults.no_connection(problem, self.where)
        raise finding

    @contextmanager
    def _in_words(self, connection: Connection, doing: str) -> Iterator[None]:
        try:
            with watched(connection, self._longest):
                yield
        except psycopg.Error as problem:
            if connection.closed or postgres_faults.ends_connection(problem):
                finding: StateError = postgres_faults.lost(self.where, doing)
            else:
                finding = postgres_faults.explain(problem, self.where, doing)
            raise finding from None
        except UnicodeEncodeError:
            raise faults.unstorable(self.where, "a text is not valid Unicode") from None


def _runner(connection: Connection) -> Run:
    def run(text: str, values: Sequence[Any]) -> list[Row]:
        cursor = connection.execute(text.replace("?", "%s").encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    return run


def _carry_out(statements: Sequence[Statement], run: Run) -> None:
    for text, values in statements:
        run(text, values)
