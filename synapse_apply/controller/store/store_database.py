"""What the store needs of a database, and what is said when that cannot be used."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from synapse_apply.controller.store.row_table import SqlDialect
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.json_values import WrongShapeError

Cells = tuple[Any, ...]


class StoreConnection(Protocol):
    """A connection for one thread at a time. Each value of a statement stands as `?`.

    Its errors are the driver's own, inside of `StoreDatabase.translate_errors`.
    """

    def execute(self, statement: str, values: Sequence[object] = (), /) -> Any:
        """The cursor of the driver: rows that were selected, or how many were changed."""
        ...

    def execute_write(self, statement: str, values: Sequence[object] = (), /) -> None:
        """Have a statement run before the next one of `execute`, or before `commit`.

        Its errors come then.
        """
        ...

    def run_queued_statements(self) -> None:
        """Run what is queued at once; without a transaction, in one of its own."""
        ...

    def begin_reading(self) -> None:
        """Begin a transaction in which all is read as of one moment."""
        ...

    def begin_writing(self) -> None:
        """Wait until no other writer is there, and begin a transaction.

        StoreTooNew where this program may not write to the store.
        """
        ...

    def commit(self) -> None: ...

    def roll_back_if_begun(self) -> None:
        """End a transaction without effect; never raises for a connection that is lost."""
        ...

    def close(self) -> None: ...


class StoreDatabase(Protocol):
    """Where the rows are. `is_shared` says whether several processes may use it at once."""

    @property
    def dialect(self) -> SqlDialect: ...

    @property
    def is_shared(self) -> bool: ...

    def create_or_upgrade(self) -> str:
        """Make an empty store if there is none, or upgrade an older one; returns what that did."""
        ...

    def open_connection(self, *, is_writer: bool) -> StoreConnection: ...

    def read_server_clock(self, connection: StoreConnection) -> float | None:
        """Its clock, in seconds since the epoch; None where that is this machine's."""
        ...

    def write_backup(self, connection: StoreConnection, target: Path) -> None:
        """Copy the store to one new file; ControllerStoreError where that cannot be done."""
        ...

    def translate_errors(self, activity: str) -> AbstractContextManager[None]:
        """Turn errors of the database and of decoding in the block into ControllerStoreError.

        `activity` begins the message: Reading, Writing.
        """
        ...


_PRIMARY_CODE_MASK = 0xFF  # extended result codes keep the primary one in the low byte


class ControllerStoreError(SynapseApplyError):
    """The controller's store cannot be opened, read or written."""


class StoreUnavailable(ControllerStoreError):
    """The store's database does not answer, or ended the connection: a later attempt may succeed.

    Of a write that was about to be committed nobody knows whether it was: whoever repeats it must
    look at the store again first.
    """


class StoreMissing(ControllerStoreError):
    """There is none yet: the first controller that runs with it makes it."""


class StoreTooNew(ControllerStoreError):
    """A newer version wrote what this one would harm: it may not write any more."""


class StoreLocation(NamedTuple):
    """Where a store is, for messages: `name` is a path, or a url without user and password."""

    name: str
    words: _LocationWords


class _LocationWords(NamedTuple):
    """What people can do about a store of one sort: in a file, or in a database."""

    empty: str
    foreign_hint: str
    damaged_hint: str
    missing_hint: str


def build_file_location(path: Path) -> StoreLocation:
    return StoreLocation(
        str(path),
        _LocationWords(
            "folder (--data)",
            "Choose a different folder with --data, or move the file to start with an empty store.",
            "Restore a backup, or move the file: you then lose the history, but no object.",
            "Specify the controller's data folder: --data FOLDER. If its configuration has a "
            "`store`, the store is in a database: ask the controller (--url), and back it up with "
            "pg_dump.",
        ),
    )


def build_database_location(display_url: str) -> StoreLocation:
    return StoreLocation(
        display_url,
        _LocationWords(
            "schema (?schema=NAME in the store's url)",
            "Use a different schema in the store's url: ?schema=NAME.",
            "Restore a backup of pg_dump, or name an empty schema in the store's url "
            "(?schema=NAME): you then lose the history, but no object.",
            "The first controller that runs with it creates it. Check the store's url.",
        ),
    )


def foreign_store(location: StoreLocation, reason: str) -> ControllerStoreError:
    return ControllerStoreError.from_summary(
        "This is not a controller's store",
        f"{location.name} {reason}. It was not changed.",
        location.words.foreign_hint,
    )


def damaged_store(location: StoreLocation, reason: str) -> ControllerStoreError:
    return ControllerStoreError.from_summary(
        "The controller's store is damaged",
        f"{location.name}: {reason}.",
        location.words.damaged_hint,
    )


def missing_store(location: StoreLocation) -> StoreMissing:
    return StoreMissing.from_summary(
        "The controller's store does not exist",
        f"{location.name} does not exist.",
        location.words.missing_hint,
    )


@contextmanager
def translating_errors(path: Path, activity: str) -> Iterator[None]:
    """Turn errors of SQLite, of the disk and of decoding in the block into ControllerStoreError.

    `activity` begins the message: Reading, Writing, ...
    """
    location = build_file_location(path)
    try:
        yield
    except sqlite3.Error as problem:
        code = getattr(problem, "sqlite_errorcode", 0) & _PRIMARY_CODE_MASK
        if code == sqlite3.SQLITE_NOTADB:
            raise foreign_store(location, "is not an SQLite database") from None
        if code == sqlite3.SQLITE_CORRUPT or str(problem).startswith("no such "):
            raise damaged_store(location, str(problem)) from None
        raise _failed_access(path, activity, str(problem)) from None
    except WrongShapeError as problem:
        raise damaged_store(location, str(problem)) from None
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise _failed_access(path, activity, reason) from None


def _failed_access(path: Path, activity: str, reason: str) -> ControllerStoreError:
    return ControllerStoreError.from_summary(
        "The controller's store cannot be used",
        f"{activity} {path} failed: {reason}. Earlier records are intact.",
        "Check the disk: free space, quota, permissions.",
    )
