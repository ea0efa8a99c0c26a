"""What the store needs of a database: the port that SQLite and PostgreSQL fill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from synapse_apply.controller.store.dialect import SqlDialect

Cells = tuple[Any, ...]


class StoreCursor(Protocol):
    """What a statement gave: rows that it selected, or how many it changed."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class StoreConnection(Protocol):
    """A connection for one thread at a time. Each value of a statement stands as `?`.

    Its errors are the driver's own, inside of `StoreDatabase.translate_errors`.
    """

    def execute(self, statement: str, values: Sequence[object] = (), /) -> StoreCursor: ...

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

    def write_backup_or_raise_for_database(self, connection: StoreConnection, target: Path) -> None:
        """Copy the store to one new file; ControllerStoreError where that cannot be done."""
        ...

    def translate_errors(self, activity: str) -> AbstractContextManager[None]:
        """Turn errors of the database and of decoding in the block into ControllerStoreError.

        `activity` begins the message: Reading, Writing.
        """
        ...
