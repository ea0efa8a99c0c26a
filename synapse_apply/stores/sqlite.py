"""The state store in one SQLite file, for one machine.

A missing file is never made by looking at it, a new one appears under its name only when it is
whole, and what another process put in its place is noticed at the next use.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import RLock
from urllib.parse import quote
from uuid import uuid4

from synapse_apply.files import opening
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.state import STATE_FORMAT
from synapse_apply.stores import faults, schema, sqlite_faults
from synapse_apply.stores.contents import Origin, origin_of
from synapse_apply.stores.database import Row, Run, Statement, T
from synapse_apply.stores.kept import KEPT, keep, names
from synapse_apply.stores.lock import Runner
from synapse_apply.stores.lockfile import locked
from synapse_apply.stores.mounts import MOUNTS, network_warning
from synapse_apply.stores.private_files import flush_folder, make_file, make_folder
from synapse_apply.stores.sql import SqlStore, utc_now

# "SynA" in ASCII, in the header of every state file (sqlite.org/fileformat2, offset 68).
APPLICATION_ID = 0x53796E41

# How long a write waits for a reader of another process, in seconds.
PATIENCE = 30.0


def open_sqlite(
    path: str | Path,
    *,
    tool_version: str = "",
    run_url: str = "",
    now: Callable[[], str] = utc_now,
    runner: Runner | None = None,
) -> SqlStore:
    """The store at a path; nothing is read or made yet. `run_url` is shown to who waits."""
    database = SqliteDatabase(Path(path))
    return SqlStore(database, tool_version, now, runner or Runner(run_url))


class SqliteDatabase:
    """A Database (stores/database.py): one file, one connection, one thread at a time."""

    def __init__(self, path: Path, mounts: str = MOUNTS) -> None:
        """Links above our own folder are followed once; below it there may be none."""
        self._path = opening.plain_path(path)
        self._mounts = mounts
        self._turn = RLock()
        self._connection: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None

    @property
    def where(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        with sqlite_faults.in_words(self.where, "Reading"):
            return opening.check_file(self._path) is not None

    def create(self, statements: Sequence[Statement]) -> None:
        if self.exists():
            raise faults.exists(self.where)
        with self._turn, _new_file(self._path) as new, _connect(new) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {STATE_FORMAT}")
            _carry_out(statements, connection)
            connection.execute("COMMIT")

    def read(self, work: Callable[[Run], T]) -> T:
        with self._transaction("BEGIN", "Reading") as run:
            return work(run)

    def write(self, work: Callable[[Run], T]) -> T:
        with self._transaction("BEGIN IMMEDIATE", "Writing") as run:
            return work(run)

    @contextmanager
    def alone(self, operation: str) -> Iterator[None]:
        """By a lock file: rows need a state. The system gives it back however a process ends."""
        with sqlite_faults.in_words(self.where, "Locking"):
            make_folder(self._path.parent)
        with locked(f"{self._path}.lock", self.where, operation):
            yield

    def backup(self, to: str) -> None:
        target = opening.plain_path(Path(to))
        if os.path.lexists(target):
            raise faults.backup_exists(to)
        with self._turn, sqlite_faults.in_words(self.where, "Copying"):
            source = self._current()
            with _new_file(target) as new, _connect(new) as copy:
                source.backup(copy)
                copy.execute(schema.DROP_LOCK)

    def replace(
        self, source: str, check: Callable[[Run], Sequence[Statement]], keep: str = ""
    ) -> str:
        """The file that was here is kept as `<name>.before-restore`, a file whatever is in it."""
        del keep  # a link must lie beside it
        kept: list[Path] = []
        with self._turn, opened_backup(source) as backup:
            with sqlite_faults.in_words(source, "Reading"):
                statements = check(runner(backup, source))
            with _new_file(self._path, lambda: self._make_way(kept)) as new, _connect(new) as copy:
                backup.backup(copy)
                copy.execute("BEGIN IMMEDIATE")
                _carry_out(statements, copy)
                copy.execute("COMMIT")
        return str(kept[0]) if kept else ""

    def _make_way(self, kept: list[Path]) -> None:
        """What the old file leaves behind must not meet the new one."""
        self.close()
        if self.exists():
            kept.append(keep(self._path, self._path.with_name(f"{self._path.name}.{KEPT}")))
        # SQLite would play the old file's journal into the new one.
        opening.remove_file(_companion(self._path, "-journal"))

    def warnings(self) -> tuple[Diagnostic, ...]:
        return (*network_warning(self._path, self._mounts), *self._second_name())

    def _second_name(self) -> tuple[Diagnostic, ...]:
        """A warning where the file has two names: what one of two projects writes, both read."""
        found = opening.check_file(self._path)
        if found is None or found.st_nlink == 1:
            return ()
        return (
            warning(
                "The state file has a second name",
                f"{self._path} is a hard link: {found.st_nlink} names lead to this file. Whoever "
                "has another one can change this state, and SQLite's journal goes by the name.",
                f"Find it: `find / -xdev -inum {found.st_ino}`. Remove the other name, or copy "
                "the file to a new one and put that in its place.",
            ),
        )

    def close(self) -> None:
        with self._turn:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self, begin: str, doing: str) -> Iterator[Run]:
        with self._turn, sqlite_faults.in_words(self.where, doing):
            connection = self._current()
            connection.execute(begin)
            try:
                yield runner(connection, self.where)
                connection.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself where the disk was full.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _current(self) -> sqlite3.Connection:
        """The connection to the file that has the name now."""
        found = opening.check_file(self._path)
        if found is None:
            self.close()
            raise faults.missing(self.where)
        if self._opened is not None and not os.path.samestat(found, self._opened):
            self.close()
        if self._connection is None:
            self._connection = self._open(found)
            self._opened = found
        return self._connection

    def _open(self, found: os.stat_result) -> sqlite3.Connection:
        """A connection to the file that was found.

        SQLite opens by the path alone and cannot be told to follow no link. So the file and what
        SQLite keeps beside it are looked at before, and it is read only when the name still means
        the same file afterwards. SQLite would play a journal that lies there into the state.
        """
        for ending in ("-journal", "-wal", "-shm"):
            opening.check_file(_companion(self._path, ending))
        with sqlite_faults.in_words(self.where, "Opening"):
            connection = _connection(self._path, "rw")
            try:
                _check_is_same(self._path, found)
                _verify(connection, self.where)
                _check_is_same(self._path, found)
                connection.execute("PRAGMA journal_mode = DELETE")
                # EXTRA is FULL and also flushes the folder once the journal is gone: with FULL a
                # power loss could bring the journal back and undo a commit we acknowledged.
                connection.execute("PRAGMA synchronous = EXTRA")
            except BaseException:
                connection.close()
                raise
            return connection


@contextmanager
def _new_file(path: Path, make_way: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """A private file beside `path` that takes its name when the block ends well."""
    new = path.with_name(f"{path.name}.{uuid4().hex[:12]}.new")
    with sqlite_faults.in_words(str(path), "Making"):
        make_folder(path.parent)
        make_file(new)
        try:
            yield new
            make_way()
            opening.replace_file(path, new.name)
            flush_folder(path.parent)
        finally:
            opening.remove_file(new)


def _companion(path: Path, ending: str) -> Path:
    """A file that SQLite keeps beside a database."""
    return path.with_name(f"{path.name}{ending}")


def _check_is_same(path: Path, before: os.stat_result) -> None:
    """UntrustedFileError where the name means another file now."""
    now = opening.check_file(path)
    if now is None or not os.path.samestat(now, before):
        raise opening.build_untrusted_error(path, "was replaced while it was opened")


def _connection(path: Path, mode: str) -> sqlite3.Connection:
    """`mode` is rw or ro: neither makes a file that is missing."""
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=PATIENCE,
        isolation_level=None,
        check_same_thread=False,
    )


def _connect(path: Path) -> closing[sqlite3.Connection]:
    return closing(_connection(path, "rw"))


@contextmanager
def opened_backup(source: str) -> Iterator[sqlite3.Connection]:
    """A backup, read only; StateError unless it is a whole state that this version can read."""
    path = Path(source)
    if opening.is_below_own_folder(path):
        # A person may name a link elsewhere; what restores leave here are plain files.
        for ending in ("", "-journal", "-wal", "-shm"):
            opening.check_file(_companion(path, ending))
    if not path.is_file():
        raise faults.not_a_backup(source, "does not exist")
    with sqlite_faults.in_words(source, "Opening"):
        connection = _connection(Path(source), "ro")
    with closing(connection):
        with sqlite_faults.in_words(source, "Reading"):
            _verify_whole(connection, source)
        yield connection


def origin(source: str) -> Origin:
    """Which state a backup is of; StateError as `opened_backup`."""
    with opened_backup(source) as connection, sqlite_faults.in_words(source, "Reading"):
        return origin_of(runner(connection, source), source)


def written(rows: Sequence[Statement], first: Path) -> Path:
    """A new state file with these rows, at this path or the next one that nothing has."""
    path = next(name for name in names(first) if not name.exists())
    with closing(SqliteDatabase(path)) as copy:
        copy.create([*((table, ()) for table in schema.TABLES), *rows])
    return path


def runner(connection: sqlite3.Connection, where: str) -> Run:
    """How work runs its statements on a connection; StateError for a cell of another type.

    Columns of SQLite take values of any type, whatever they were declared as.
    """

    def run(sql: str, values: Sequence[object]) -> list[Row]:
        # One that failed half way holds the file's lock until it is closed.
        with closing(connection.execute(sql, values)) as cursor:
            rows: list[Row] = cursor.fetchall()
            if rows:
                _check_cells([name for name, *_ in cursor.description], rows, where)
        return rows

    return run


def _check_cells(names: Sequence[str], rows: Sequence[Row], where: str) -> None:
    types = [schema.types_of(name) for name in names]
    for row in rows:
        for name, expected, cell in zip(names, types, row, strict=True):
            if type(cell) not in expected or (type(cell) is int and abs(cell) > schema.LARGEST):
                raise faults.damaged(where, f"a cell of column {name} is not what a state has")


def _carry_out(statements: Sequence[Statement], connection: sqlite3.Connection) -> None:
    for statement in statements:
        connection.execute(*statement)


def _verify(connection: sqlite3.Connection, where: str) -> None:
    """StateError unless this is a state of ours that this version can read."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID:
        what = "is an SQLite database of another program" if tables else "is empty"
        raise faults.foreign(where, what)
    if found > STATE_FORMAT:
        raise faults.newer(where, found)


def _verify_whole(connection: sqlite3.Connection, where: str) -> None:
    """Also every page: a damaged backup must not take the place of anything."""
    _verify(connection, where)
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise faults.damaged(where, str(found))
