"""How a state is stored in one SQLite file: created atomically, opened safely, replaced as a whole.

Opening never creates a file. A new file gets its name only when it is complete. If another process
has replaced the file, the next use opens the new one.

How processes exclude each other while a state is created or restored: flock(2) on a lock file. The
system releases the lock when the process ends in any way. The file is never removed: otherwise one
process could hold a lock on a removed file while another locks a new one. It is not the lock of a
state, since a suspended process would keep it for ever.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sqlite3
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import RLock
from urllib.parse import quote
from uuid import uuid4

from synapse_apply.files import opening
from synapse_apply.files.checkout import iter_folders_above
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.stores import schema, snapshot
from synapse_apply.stores.database import BackupReview, Database, Row, SqlRunner, Statement, T
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.sql import SqlStore, utc_now
from synapse_apply.stores.state_messages import MAKER, fault, require_format_not_newer

MOUNTS_FILE = "/proc/self/mounts"
_OCTAL_ESCAPE = re.compile(r"\\([0-7]{3})")

# File systems whose locks and flushes SQLite cannot rely on (sqlite.org/faq.html, question 5).
NETWORK_FILE_SYSTEMS = {
    *("nfs", "nfs4", "cifs", "smb", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs"),
    *("lustre", "9p", "virtiofs", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.cephfs"),
    *("fuse.davfs2", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.blobfuse2"),
}


def list_mount_warnings(path: Path, mounts_file: str = MOUNTS_FILE) -> tuple[Diagnostic, ...]:
    """A warning for a path on a network file system; () if it is none, or unknown."""
    system_type = find_file_system(path, mounts_file)
    if system_type not in NETWORK_FILE_SYSTEMS:
        return ()
    return (
        warning_finding(
            "The state is on a network file system",
            f"{path} is on {system_type}: file locks may not work between machines there, and "
            "written data may be lost.",
            Text(
                "Keep the state on a local disk, or share it in a database: state: {url: "
                "postgresql://...}; ",
                Command("state backup --to URL"),
                " moves the state.",
            ),
        ),
    )


def find_file_system(path: Path, mounts_file: str = MOUNTS_FILE) -> str:
    """The file system type at a path, from the mount table (proc_pid_mounts(5)); "" if unknown."""
    try:
        lines = Path(mounts_file).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    ancestors = {str(path), *iter_folders_above(path)}
    deepest, system_type = -1, ""
    for _, escaped_mount_point, mount_type, *_ in (
        line.split(" ") for line in lines if line.count(" ") >= 3
    ):
        # Blanks and backslashes in a mount point are written as octal escapes.
        mount_point = _OCTAL_ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), escaped_mount_point)
        # Of two mounts at the same point the later one hides the earlier one.
        if mount_point in ancestors and len(mount_point) >= deepest:
            deepest, system_type = len(mount_point), mount_type
    return system_type


PRIMARY_CODE_MASK = 0xFF  # extended result codes keep the primary one in the low byte
_RULES_BY_CODE = {
    sqlite3.SQLITE_NOTADB: "no sqlite",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_FULL: "disk full",
    sqlite3.SQLITE_READONLY: "refused",
    sqlite3.SQLITE_PERM: "refused",
    sqlite3.SQLITE_CANTOPEN: "refused",
    sqlite3.SQLITE_BUSY: "file busy",
    sqlite3.SQLITE_LOCKED: "file busy",
    sqlite3.SQLITE_IOERR: "disk fault",
}


@contextmanager
def telling_state_errors(location: str, activity: str) -> Iterator[None]:
    """Turn errors of the block into StateErrors that name `location`.

    `activity` begins the message: Reading, Opening, Writing, ...
    """
    try:
        yield
    except sqlite3.Error as problem:
        code = getattr(problem, "sqlite_errorcode", 0) & PRIMARY_CODE_MASK
        rule, reason = _RULES_BY_CODE.get(code, "unusable"), str(problem)
        # "no such table" and "no such column" have only the general code SQLITE_ERROR.
        if reason.startswith("no such "):
            rule = "damaged"
    except OSError as problem:
        is_full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        rule = "disk full" if is_full else "refused"
        reason = problem.strerror or ("no space left" if is_full else str(problem))
    except UnicodeEncodeError:
        rule, reason = "unstorable", "a string is not valid Unicode"
    else:
        return
    if rule == "refused":
        rule = "unreadable" if activity in ("Reading", "Opening") else "unwritable"
    raise fault(rule, location, activity=activity, reason=reason) from None


# "SynA" in ASCII, in the header of every state file (sqlite.org/fileformat2, offset 68).
APPLICATION_ID = 0x53796E41
# As SQLite keeps the statements that made a state's tables and indexes, without line breaks.
_TABLES_OF_ANALYZE = {"sqlite_stat1", "sqlite_stat4"}
_SCHEMA_TEXTS = frozenset(" ".join(text.split()) for text in schema.CREATE_STATEMENTS)
# In the header, too: formats 1 and 2 have the same tables. The format of the rows is in `meta`.
_FORMAT_OF_TABLES = 1

# Seconds that a write waits for a reader in another process.
BUSY_TIMEOUT_SECONDS = 30.0


def make_unopened_sqlite_store(
    path: str | Path,
    *,
    tool_version: str = "",
    run_url: str = "",
    now: Callable[[], str] = utc_now,
    runner: LockRunner | None = None,
) -> SqlStore:
    """The store at a path, not opened yet. `run_url` is shown to who waits for the lock."""
    database = SqliteDatabase(Path(path))
    return SqlStore(database, tool_version, now, runner or LockRunner(run_url))


class SqliteDatabase(Database):
    """A Database (stores/database.py, which documents its methods) in one file.

    It has one connection, which one thread uses at a time.
    """

    is_shared = False

    def __init__(self, path: Path, mounts_file: str = MOUNTS_FILE) -> None:
        """Links above our own folder are resolved now; below it no link is followed."""
        self._path = opening.resolve_links_above(path)
        self.location = str(self._path)
        self._mounts_file = mounts_file
        self._connection_lock = RLock()
        self._connection: sqlite3.Connection | None = None
        self._opened_stat: os.stat_result | None = None

    def exists(self) -> bool:
        with telling_state_errors(self.location, "Reading"):
            return opening.stat_own_file_or_none(self._path) is not None

    def create_state_or_raise_if_exists(self, statements: Sequence[Statement]) -> None:
        if self.exists():
            raise fault("exists", self.location)
        with (
            self._connection_lock,
            _replacing_file(self._path) as new_path,
            _open_writable(new_path) as connection,
            transaction(connection, "BEGIN IMMEDIATE"),
        ):
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_FORMAT_OF_TABLES}")
            _execute(statements, connection)

    def read_in_snapshot(
        self, work: Callable[[SqlRunner], T], *, requires_newest: bool = False
    ) -> T:
        del requires_newest  # always the newest
        with self._run_transaction("BEGIN", "Reading") as run:
            return work(run)

    def write_in_transaction(self, work: Callable[[SqlRunner], T]) -> T:
        with self._run_transaction("BEGIN IMMEDIATE", "Writing") as run:
            return work(run)

    @contextmanager
    def hold_creation_lock(self, operation: str) -> Iterator[None]:
        """Hold a lock file, since there is no lock row without a state."""
        path = _build_companion_path(self._path, ".lock")
        with ExitStack() as stack:
            with telling_state_errors(self.location, "Locking"):
                opening.make_own_folders(path.parent)
            try:
                descriptor = opening.open_own_file_with_flags(path, os.O_RDWR | os.O_CREAT)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # If the file was removed before it was locked, other processes lock a new file.
                is_held = os.path.samestat(os.fstat(descriptor), path.lstat())
            except BlockingIOError:
                is_held = False
            except OSError as problem:
                raise fault(
                    "unwritable",
                    self.location,
                    activity=f"Locking for {operation}",
                    reason=f"{path}: {problem.strerror}",
                ) from None
            if not is_held:
                raise fault("held", self.location, owner=MAKER)
            yield

    def write_backup(self, path: str) -> None:
        target_path = opening.resolve_links_above(Path(path))
        if os.path.lexists(target_path):
            raise fault("backup exists", path)
        with self._connection_lock, telling_state_errors(self.location, "Copying"):
            source_connection = self._require_connection_to_current_file()
            with (
                _replacing_file(target_path) as new_path,
                _open_writable(new_path) as copy_connection,
            ):
                source_connection.backup(copy_connection)
                # Whoever holds the lock now does not hold that of the copy.
                copy_connection.execute(schema.DROP_LOCK)

    def replace_from_backup(
        self, source: str, check_backup: BackupReview, kept_path_unless_beside_file: str | None
    ) -> str:
        """The replaced file is kept as `NAME.before-restore`, readable or not."""
        # A hard link must be on the same file system, and so beside the file.
        del kept_path_unless_beside_file
        saved_paths: list[Path] = []
        with self._connection_lock, open_intact_backup(source) as backup_connection:
            with telling_state_errors(source, "Reading"):
                statements = check_backup(make_checking_runner(backup_connection, source))
            with (
                _replacing_file(self._path, lambda: self._keep_old_file(saved_paths)) as new_path,
                _open_writable(new_path) as copy_connection,
            ):
                backup_connection.backup(copy_connection)
                with transaction(copy_connection, "BEGIN IMMEDIATE"):
                    _execute(statements, copy_connection)
        return str(saved_paths[0]) if saved_paths else ""

    def _keep_old_file(self, saved_paths: list[Path]) -> None:
        """Link the old file to a free name, added to `saved_paths`; delete its journal."""
        self.close()
        if self.exists():
            saved_paths.append(
                snapshot.keep_under_free_name(
                    self._path,
                    self._path.with_name(f"{self._path.name}.{snapshot.KEPT_FILE_SUFFIX}"),
                )
            )
        # SQLite would roll the old file's journal back into the new file.
        opening.remove_own_file(_build_companion_path(self._path, "-journal"))

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        warnings = list_mount_warnings(self._path, self._mounts_file)
        file_stat = opening.stat_own_file_or_none(self._path)
        if file_stat is None or file_stat.st_nlink == 1:
            return warnings
        # Two projects may share it by mistake.
        return (
            *warnings,
            warning_finding(
                "The state file has a second name",
                f"{self._path} is a hard link: {file_stat.st_nlink} names lead to this file. "
                "Anyone who can open another name can change this state, and SQLite derives the "
                "name of its journal from the file's name.",
                f"Find the other name: `find / -xdev -inum {file_stat.st_ino}`. Remove the "
                "other name, or copy the file and replace it with the copy.",
            ),
        )

    def close(self) -> None:
        with self._connection_lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @contextmanager
    def _run_transaction(self, begin_statement: str, activity: str) -> Iterator[SqlRunner]:
        with self._connection_lock, telling_state_errors(self.location, activity):
            connection = self._require_connection_to_current_file()
            with transaction(connection, begin_statement):
                yield make_checking_runner(connection, self.location)

    def _require_connection_to_current_file(self) -> sqlite3.Connection:
        """The connection to the file that has the path now; StateError if there is none."""
        file_stat = opening.stat_own_file_or_none(self._path)
        if file_stat is None:
            self.close()
            raise fault("missing", self.location)
        if self._opened_stat is not None and not os.path.samestat(file_stat, self._opened_stat):
            self.close()
        if self._connection is None:
            self._connection = self._open_connection(file_stat)
            # Also where a command that failed leaves its store to the garbage collection.
            weakref.finalize(self, self._connection.close)
            self._opened_stat = file_stat
        return self._connection

    # Rollback journal with synchronous=EXTRA: with FULL a power loss could bring the journal file
    # back and undo a commit that was acknowledged; EXTRA also syncs the folder. Not the write-ahead
    # log: a state is one file, so that a copy of the file is a copy of the state.
    def _open_connection(self, file_stat: os.stat_result) -> sqlite3.Connection:
        """Open the file with this stat; StateError if the path means another one by now.

        SQLite opens by path only, and would follow a link. So the file and its companions are
        checked before, and the file's identity again afterwards. Companions are checked since
        SQLite applies a journal that lies beside the file.
        """
        for suffix in ("-journal", "-wal", "-shm"):
            opening.stat_own_file_or_none(_build_companion_path(self._path, suffix))
        with telling_state_errors(self.location, "Opening"):
            connection = _connect(self._path, "rw")
            try:
                _require_same_file(self._path, file_stat)
                _require_state(connection, self.location)
                _require_same_file(self._path, file_stat)
                connection.execute("PRAGMA journal_mode = DELETE")
                connection.execute("PRAGMA synchronous = EXTRA")
            except BaseException:
                connection.close()
                raise
            return connection


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN", *ends: str) -> Iterator[None]:
    """Begin, run the block and commit, or run other `ends`; rolled back if the block raises."""
    connection.execute(begin)
    try:
        yield
        for statement in ends or ("COMMIT",):
            connection.execute(statement)
    except BaseException:
        # If the disk was full, SQLite has rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _replacing_file(path: Path, before_rename: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """A new private file that replaces `path`, durably, if the block succeeds; else is removed."""
    new_path = path.with_name(f"{path.name}.{uuid4().hex[:12]}.new")
    with telling_state_errors(str(path), "Making"):
        opening.make_own_folders(path.parent)
        opening.create_own_file(new_path)
        try:
            yield new_path
            before_rename()
            opening.replace_own_file(path, new_path.name)
            opening.flush_own_folder_to_disk(path.parent)
        finally:
            opening.remove_own_file(new_path)


def _build_companion_path(path: Path, suffix: str) -> Path:
    """The path of SQLite's file beside a database; `suffix` is -journal, -wal or -shm."""
    return path.with_name(f"{path.name}{suffix}")


def _require_same_file(path: Path, expected_stat: os.stat_result) -> None:
    """UntrustedFileError if the path means another file than the expected one now."""
    current_stat = opening.stat_own_file_or_none(path)
    if current_stat is None or not os.path.samestat(current_stat, expected_stat):
        raise opening.build_untrusted_error(path, "was replaced while it was opened")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Connect with `mode` rw or ro, neither of which creates a missing file."""
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,  # no implicit transactions: BEGIN and COMMIT are written out
        check_same_thread=False,
    )


def _open_writable(path: Path) -> closing[sqlite3.Connection]:
    return closing(_connect(path, "rw"))


@contextmanager
def open_intact_backup(source: str) -> Iterator[sqlite3.Connection]:
    """Open a backup read-only; StateError unless it is an intact state of a known format."""
    path = Path(source)
    if opening.is_below_own_folder(path):
        # Elsewhere a user may name a link. In our own folder restores leave plain files only.
        for suffix in ("", "-journal", "-wal", "-shm"):
            opening.stat_own_file_or_none(_build_companion_path(path, suffix))
    # In this order: `is_file` raises in a folder that may not be searched.
    if not os.path.lexists(path) or not path.is_file():
        raise fault("no backup", source, reason="does not exist")
    with telling_state_errors(source, "Opening"):
        connection = _connect(Path(source), "ro")
    with closing(connection):
        with telling_state_errors(source, "Reading"):
            _require_state(connection, source)
            (check_result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if check_result != "ok":
                raise fault("damaged", source, reason=check_result)
        yield connection


def statements_of_backup(source: str, check_backup: BackupReview) -> list[Statement]:
    """The statements that fill new tables with a backup's rows, and those of its check."""
    with (
        open_intact_backup(source) as connection,
        telling_state_errors(source, "Reading"),
    ):
        run = make_checking_runner(connection, source)
        return [*snapshot.read_rows_as_inserts(run), *check_backup(run)]


def require_origin_of_intact_backup(source: str) -> snapshot.StateOrigin:
    """Which state a backup is of; StateError as for `open_intact_backup`."""
    with (
        open_intact_backup(source) as connection,
        telling_state_errors(source, "Reading"),
    ):
        return snapshot.read_state_origin(make_checking_runner(connection, source), source)


def write_new_state_file(statements: Sequence[Statement], first_path: Path) -> Path:
    """Write these rows to a new state file at the first free name; returns its path."""
    path = next(
        candidate
        for candidate in snapshot.iter_numbered_paths(first_path)
        if not candidate.exists()
    )
    with closing(SqliteDatabase(path)) as new_database:
        new_database.create_state_or_raise_if_exists([*schema.CREATE_TABLES, *statements])
    return path


def make_checking_runner(connection: sqlite3.Connection, location: str) -> SqlRunner:
    """A function that runs statements on the connection and checks the types of result cells.

    SQLite columns accept values of any type, whatever their declaration. StateError (damaged) for
    a cell of a wrong type.
    """

    def run_statement(statement: str, values: Sequence[object]) -> list[Row]:
        # Closed explicitly: a failed statement keeps the file's lock until its cursor is closed.
        with closing(connection.execute(statement, values)) as cursor:
            rows: list[Row] = cursor.fetchall()
            if rows:
                _require_types([column for column, *_ in cursor.description], rows, location)
        return rows

    return run_statement


def _require_types(columns: Sequence[str], rows: Sequence[Row], location: str) -> None:
    types_by_column = [schema.list_allowed_cell_types(column) for column in columns]
    for row in rows:
        for column, allowed_types, cell in zip(columns, types_by_column, row, strict=True):
            if type(cell) not in allowed_types or (
                type(cell) is int and abs(cell) > schema.LARGEST_NUMBER
            ):
                raise fault(
                    "damaged", location, reason=f"column {column} has a value that no state has"
                )


def _execute(statements: Sequence[Statement], connection: sqlite3.Connection) -> None:
    for statement in statements:
        connection.execute(*statement)


def _require_state(connection: sqlite3.Connection, location: str) -> None:
    """StateError unless this is a state file (by application id) of a known format.

    It must have no table, index, trigger or view but those of the schema, to the word: a trigger,
    or a constraint, would change rows at each write.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (format_number,) = connection.execute("PRAGMA user_version").fetchone()
    (table_count,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if application_id != APPLICATION_ID:
        description = "is an SQLite database of another program" if table_count else "is empty"
        raise fault("foreign file", location, reason=description)
    require_format_not_newer(format_number, location)
    for kind, name, text in connection.execute("SELECT type, name, sql FROM sqlite_master"):
        # SQLite's own index of a PRIMARY KEY or UNIQUE column has no text; ANALYZE makes tables.
        is_implied = (kind == "index" and text is None) or name in _TABLES_OF_ANALYZE
        if not is_implied and " ".join(str(text).split()) not in _SCHEMA_TEXTS:
            kind_name = kind if kind in ("table", "index", "view") else "trigger"
            raise fault(
                "damaged",
                location,
                reason=f"its {kind_name} {name!a:.80} differs from that of a state",
            )
