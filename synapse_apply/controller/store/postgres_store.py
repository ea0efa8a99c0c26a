"""The store in a schema of PostgreSQL: sessions, the row in which writers stand, what times out.

It has a schema of its own, so that its tables and those of its queue are no others' (a state's
`meta` is another table), a role needs rights to that schema alone, and pg_dump saves it by name.

Writers stand in a row by an advisory lock that belongs to the transaction, over all processes: as
with SQLite, what a write reads on another connection is all that was committed before it, and stays
so until its end. The server throws out a writer that stands still, a stopped process for example.
Sessions have settings of their own: there must be no pooler between that shares them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, cast
from zlib import crc32

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.store import store_database, store_schema
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.controller.store.row_table import POSTGRES_DIALECT
from synapse_apply.controller.store.store_database import (
    Cells,
    ControllerStoreError,
    StoreConnection,
    StoreLocation,
    StoreUnavailable,
)
from synapse_apply.controller.store.store_writer import make_storable
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import replace
from synapse_apply.model.json_values import WrongShapeError
from synapse_apply.model.values import Sensitive
from synapse_apply.stores.postgres.postgres_parameters import (
    build_refusal_finding,
    find_stranger,
    has_ended_connection,
    libpq_parameters,
    limit_connection,
    reason_of_first_host,
)
from synapse_apply.stores.postgres.postgres_url import (
    PostgresLocation,
    is_postgres_url,
    parse_postgres_url,
)
from synapse_apply.stores.postgres.server_words import connection_reason, sqlstate, statement_reason

# What it warns of is raised here as an error; without a handler it would stand on stderr, too.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

T = TypeVar("T")
Session = psycopg.Connection[Cells]

DEFAULT_SCHEMA = "synapse_apply_controller"
# The first key of our advisory lock: "SynC" in ASCII, as those of states are "SynA" and "SynB".
WRITERS_LOCK = 0x53796E43
# Seconds after which a server is given up that holds the connection and does not answer: longer
# than its own timeouts below.
MAX_SECONDS = 30.0
# Statements: what one round trip is worth waiting with, and no more memory than that.
_MOST_IN_QUEUE, _MAX_SECONDS_IN_QUEUE = 500, 1.0
_DEFAULT_PARAMETERS = {"application_name": "synapse-apply controller", "connect_timeout": "5"}

# The server ends a stopped writer (5 s) before those behind it give up (10 s), also one that was
# stopped while it read an answer (tcp_user_timeout). A commit that returns must be durable.
_SESSION_SETTINGS = """
SET search_path TO {schema};
SET default_transaction_isolation TO 'read committed';
SET idle_in_transaction_session_timeout TO '5s';
SET lock_timeout TO '10s';
SET statement_timeout TO '15s';
SET tcp_user_timeout TO '10s';
SET standard_conforming_strings TO on;
SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
    WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)
"""
_BEGIN_WRITING = """
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SELECT pg_advisory_xact_lock({lock}, {key})
"""
# A statement of its own behind the lock, so that it sees what the writer before has committed.
_SELECT_FORMAT = "SELECT key, value FROM meta WHERE key IN ({format}, {oldest_writer})"

_SELECT_SERVER = """
SELECT CAST(current_setting('server_version_num') AS integer), current_setting('server_encoding'),
    to_regclass('meta') IS NOT NULL
"""
_HAS_SCHEMA = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = %s)"


class PostgresConnection:
    """A StoreConnection that opens its session when it needs one, and drops one that is broken.

    A session that had ended while no transaction was open is replaced at once, without a word.
    """

    def __init__(
        self,
        open_session: Callable[[], Session],
        begin_writing_statement: str,
        check_meta: Callable[[Mapping[str, str]], None],
    ) -> None:
        """`check_meta` is called with the rows that `begin_writing_statement` selects."""
        self._open_session = open_session
        self._begin_writing_statement = begin_writing_statement
        self._check_meta = check_meta
        self._session: Session | None = None
        self._queue: list[tuple[bytes, list[object]]] = []
        self._used_at = 0.0

    def execute(self, statement: str, values: Sequence[object] = (), /) -> psycopg.Cursor[Cells]:
        self.run_queued_statements()
        text, storable_values = (_encode(statement), _storable(values))
        return self.run(lambda session: session.execute(text, storable_values or None))

    def execute_write(self, statement: str, values: Sequence[object] = (), /) -> None:
        self._queue.append((_encode(statement), _storable(values)))
        # Also by time: the server is not to take a writer that computes for one that stands still.
        is_late = time.monotonic() - self._used_at > _MAX_SECONDS_IN_QUEUE
        if is_late or len(self._queue) >= _MOST_IN_QUEUE:
            self.run_queued_statements()

    def run_queued_statements(self) -> None:
        """See StoreConnection: all of it is sent before the first answer is waited for."""
        queue, self._queue = self._queue, []

        def execute_in_pipeline(session: Session) -> None:
            with session.pipeline():
                for text, values in queue:
                    session.execute(text, values or None)

        if queue:
            self.run(execute_in_pipeline)

    def begin_reading(self) -> None:
        self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def begin_writing(self) -> None:
        cursor = self.execute(self._begin_writing_statement)
        # Each statement of the text has its own result; the last one has the rows of `meta`.
        while cursor.nextset():
            pass
        self._check_meta(dict(cursor.fetchall()))

    def commit(self) -> None:
        # A transaction in which a statement failed is rolled back by COMMIT, which is no error.
        if self.execute("COMMIT").statusmessage != "COMMIT":
            raise psycopg.errors.InFailedSqlTransaction

    def roll_back_if_begun(self) -> None:
        session = self._session
        if session is None or not _is_unsettled(session):
            return
        self._queue.clear()
        with suppress(psycopg.Error):
            self.execute("ROLLBACK")
        # Whatever it is still in the middle of, it is not used again.
        if _is_unsettled(session):
            self.close()

    def close(self) -> None:
        self._queue.clear()
        if self._session is not None:
            self._session.close()
        self._session = None

    def run(self, work: Callable[[Session], T]) -> T:
        """Do one piece of work on the session; one that cannot be used any more is dropped."""
        self._used_at = time.monotonic()
        is_new = self._session is None
        if self._session is None:
            self._session = self._open_session()
        session = self._session
        had_begun = _is_unsettled(session)
        try:
            with limit_connection(session, MAX_SECONDS):
                return work(session)
        except psycopg.Error as problem:
            has_ended = session.closed or has_ended_connection(problem)
            if has_ended or is_worth_retry(problem):
                self.close()
            if is_new or had_begun or not has_ended:
                raise
        # It had ended while it was idle: nothing has been done yet.
        return self.run(work)


class PostgresStoreDatabase:
    """A StoreDatabase that any number of processes use at once."""

    dialect = POSTGRES_DIALECT
    is_shared = True

    def __init__(self, location: PostgresLocation) -> None:
        """InputError for a URL that libpq does not understand. Connects to nothing yet."""
        self.location = location
        self.connection_parameters = libpq_parameters(location, _DEFAULT_PARAMETERS)
        self._store_location = store_database.build_database_location(location.display_url)
        self._template_values = {
            "schema": sql.Identifier(location.schema),
            "lock": sql.Literal(WRITERS_LOCK),
            "key": sql.Literal(crc32(location.schema.encode()) - 2**31),
            "format": sql.Literal(store_schema.META_FORMAT),
            "oldest_writer": sql.Literal(store_schema.META_OLDEST_WRITER),
        }

    def create_or_upgrade(self) -> str:
        """See StoreDatabase; of several processes that start at once the first one does it."""
        connection = PostgresConnection(self._open_session, "", self._require_writable)
        with self.translate_errors("Making"), closing(connection):
            # There may be no `meta` to be checked yet.
            connection.execute(self._format_sql(_BEGIN_WRITING))
            try:
                done = self._create_or_upgrade(connection)
                connection.commit()
            finally:
                connection.roll_back_if_begun()
        return done

    def open_connection(self, *, is_writer: bool) -> PostgresConnection:
        del is_writer  # each may write: a lease is renewed beside the writer
        return PostgresConnection(
            self._open_checked,
            self._format_sql(f"{_BEGIN_WRITING}; {_SELECT_FORMAT}"),
            self._require_writable,
        )

    def read_server_clock(self, connection: StoreConnection) -> float:
        statement = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS double precision)"
        (seconds,) = connection.execute(statement).fetchone()
        return float(seconds)

    def write_backup(self, connection: StoreConnection, target: Path) -> None:
        del connection
        raise ControllerStoreError.from_summary(
            "Back up a PostgreSQL store with PostgreSQL's own programs",
            f"{self.location.display_url}: {target} was not written.",
            f"Run pg_dump --schema={self.location.schema} --file={target} DATABASE; psql "
            "restores it.",
        )

    @contextmanager
    def translate_errors(self, activity: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as problem:
            raise failed_statement(problem, self.location, self._store_location, activity) from None
        except WrongShapeError as problem:
            raise store_database.damaged_store(self._store_location, str(problem)) from None

    def _open_session(self) -> Session:
        """A session without a transaction; ControllerStoreError where it is not to be had.

        That is StoreUnavailable unless the server refuses it, such as for a wrong password.
        """
        try:
            session: Session = psycopg.connect(**self.connection_parameters, autocommit=True)
        except psycopg.Error as problem:
            finding = build_connection_error(problem, self.location)
        else:
            with _closing_on_error(session), limit_connection(session, MAX_SECONDS):
                session.execute(self._format_sql(_SESSION_SETTINGS))
            return session
        # Outside of the handler: the library's exception, which is not chained, may quote the URL.
        raise finding

    def _open_checked(self) -> Session:
        session = self._open_session()
        with _closing_on_error(session), limit_connection(session, MAX_SECONDS):
            self.require_own_schema(session)
            rows = session.execute(self._format_sql(_SELECT_FORMAT)).fetchall()
            self._require_writable(dict(rows))
        return session

    def require_own_schema(self, session: Session) -> None:
        if not self._has_own_schema(session):
            raise store_database.missing_store(self._store_location)

    def _has_own_schema(self, session: Session) -> bool:
        """Whether the schema is there; ControllerStoreError for one of a stranger.

        One that was there before its owner was looked at stays that owner's. Nothing of one that
        comes later is read: it may be a stranger's view.
        """
        schema = self.location.schema
        if stranger := find_stranger(session, schema):
            detail = f"{self.location.display_url}: {stranger.detail}"
            raise ControllerStoreError(replace(stranger, detail=detail))
        [(has_schema,)] = session.execute(_HAS_SCHEMA, [schema])
        return bool(has_schema)

    def _require_writable(self, meta: Mapping[str, str]) -> None:
        store_schema.require_upgradable(meta, self._store_location)

    def _create_or_upgrade(self, connection: PostgresConnection) -> str:
        has_schema = connection.run(self._has_own_schema)
        server = connection.execute(_SELECT_SERVER).fetchone()
        version, encoding, has_meta = server or (0, "", False)
        require_usable_server(version, encoding, self.location)
        if has_schema and has_meta:
            self._require_writable(dict(connection.execute(self._format_sql(_SELECT_FORMAT))))
            return store_schema.upgrade_tables_if_older_without_commit(connection, self.dialect)
        # CREATE SCHEMA IF NOT EXISTS needs the right to create one even if it exists.
        if not has_schema:
            connection.execute(self._format_sql("CREATE SCHEMA {schema}"))
        for statement in store_schema.empty_store_statements(self.dialect):
            connection.execute(statement)
        return ""

    def _format_sql(self, template: str) -> str:
        return sql.SQL(template).format(**self._template_values).as_string(None)


def _is_unsettled(session: Session) -> bool:
    """Whether anything is under way; also of a session that is lost."""
    return session.info.transaction_status != TransactionStatus.IDLE


@contextmanager
def _closing_on_error(session: Session) -> Iterator[None]:
    try:
        yield
    except BaseException:
        session.close()
        raise


@lru_cache(maxsize=256)
def _encode(statement: str) -> bytes:
    """A statement with the marks of psycopg; none of ours has a question or percent sign in it."""
    return statement.replace("?", "%s").encode()


def _storable(values: Sequence[object]) -> list[object]:
    return [make_storable(value) if isinstance(value, str) else value for value in values]


class PostgresControllerStore(ControllerStore):
    """The store in the schema of a database that a `postgresql://` URL names."""

    def __init__(self, url: Sensitive) -> None:
        """InputError for an unusable URL. Connects at first use."""
        text = str(url.reveal())
        if not is_postgres_url(text):
            raise InputError.from_summary(
                "The store's url cannot be used",
                "store.url is not the url of a PostgreSQL database.",
                "Write postgresql://USER@HOST:PORT/DATABASE; without `store`, the store is a "
                "file in the data folder.",
            )
        database = PostgresStoreDatabase(parse_postgres_url(text, DEFAULT_SCHEMA, owner="store"))
        super().__init__(database)
        # Where it is, for people: without user and password.
        self.display_url = database.location.display_url
        self.schema = database.location.schema
        # For psycopg.connect; with the password, and without the schema.
        self.connection_parameters = database.connection_parameters
        self._require_own_schema = database.require_own_schema

    def extend_claims(
        self, holder: str, until: float, leader_epoch: int, names: Collection[TargetName]
    ) -> None:
        """See ControllerStore. ControllerStoreError for what a stranger has made meanwhile."""
        with self._borrow_connection("Reading") as connection:
            cast("PostgresConnection", connection).run(self._require_own_schema)
        super().extend_claims(holder, until, leader_epoch, names)


# What is said when the store's PostgreSQL cannot be used, and which of it may pass by itself.
#
# No message contains a password.

# Of Procrastinate, which runs on the same database.
OLDEST_SERVER_VERSION = 13
# Classes of SQLSTATE (PostgreSQL, appendix A) whose cause is with the server: connections, a
# transaction that cannot go on, serialization, resources, a lock, an administrator, its system.
_PASSING_CLASSES = ("08", "25", "40", "53", "55", "57", "58")
_INSUFFICIENT_PRIVILEGE, _UNDEFINED_TABLE = "42501", "42P01"
# undefined_column, duplicate_table: tables of the same names that are not ours.
_FOREIGN_TABLES = ("42703", "42P07")


def is_worth_retry(problem: psycopg.Error) -> bool:
    """Whether another attempt, on another connection, may succeed without anybody's help."""
    return has_ended_connection(problem) or (problem.sqlstate or "").startswith(_PASSING_CLASSES)


def build_connection_error(
    problem: psycopg.Error, location: PostgresLocation
) -> ControllerStoreError:
    """The error for a session that could not be opened."""
    reason = reason_of_first_host(problem)
    refusal = build_refusal_finding(reason, location)
    if refusal is not None:
        return ControllerStoreError(refusal)
    return StoreUnavailable.from_summary(
        "The controller's store cannot be reached",
        f"{location.display_url}: {connection_reason(reason, location)}.",
        "Check host, port and network, and that the server runs.",
    )


def failed_statement(
    problem: psycopg.Error, location: PostgresLocation, store_location: StoreLocation, activity: str
) -> ControllerStoreError:
    """The error for a statement that failed; `activity` is Reading, Writing or Making."""
    code = sqlstate(problem)
    reason = "the server ended the connection"
    if code or isinstance(problem, psycopg.DataError):
        reason = statement_reason(problem, location)
    if is_worth_retry(problem):
        return StoreUnavailable.from_summary(
            "The controller's store does not answer",
            f"{activity} {location.display_url} failed: {reason}.",
            "Check that the server runs, and what keeps it busy (SELECT * FROM pg_stat_activity).",
        )
    if code == _UNDEFINED_TABLE:
        return store_database.missing_store(store_location)
    if code in _FOREIGN_TABLES:
        return store_database.foreign_store(
            store_location, f"has tables of another program ({reason})"
        )
    if code == _INSUFFICIENT_PRIVILEGE:
        return ControllerStoreError.from_summary(
            "The store's database denies permission",
            f"{activity} {location.display_url} failed: {reason}.",
            "Grant the user CREATE on the database, or ask an administrator to create the "
            f"schema: CREATE SCHEMA {location.schema} AUTHORIZATION USER.",
        )
    return ControllerStoreError.from_summary(
        "The controller's store cannot be used",
        f"{activity} {location.display_url} failed: {reason} ({code or 'no code'}).",
    )


def require_usable_server(version: int, encoding: str, location: PostgresLocation) -> None:
    """ControllerStoreError for a server that is too old, or a database that cannot hold all texts.

    `version` is as `server_version_num` has it.
    """
    if version // 10_000 < OLDEST_SERVER_VERSION:
        raise ControllerStoreError.from_summary(
            "The store's database server is too old",
            f"{location.display_url} runs PostgreSQL {version // 10_000}.",
            f"Use PostgreSQL {OLDEST_SERVER_VERSION} or newer.",
        )
    if encoding != "UTF8":
        raise ControllerStoreError.from_summary(
            "The store's database must use UTF8",
            f"{location.display_url} has another encoding.",
            "Create a database for it: createdb --encoding=UTF8 --template=template0 NAME.",
        )
