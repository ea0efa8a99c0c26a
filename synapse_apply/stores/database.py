"""What a database must offer to the SQL store: transactions, creation, backup, restore."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.stores.lock.lease_timing import LeaseTiming
from synapse_apply.stores.write_pacer import WritePace

T = TypeVar("T")
Row = tuple[Any, ...]
Statement = tuple[str, tuple[Any, ...]]

# Runs one statement with `?` as the placeholder and returns its rows.
SqlRunner = Callable[[str, Sequence[Any]], list[Row]]


class OwnerSign(NamedTuple):
    """What tells of the lock's owner besides the lock row, as of the last read.

    `log_position` changes with each write of the owner, "" where only the row tells of it.
    `lease_seconds` is the lease that the owner announced, None where all have the same one.
    """

    log_position: str = ""
    lease_seconds: float | None = None


class Database(Protocol):
    """One database that can hold one state. Every method raises StateError for what goes wrong.

    The `work` of a transaction is run again if the connection broke and nothing was committed, so
    that it must do nothing but run statements.
    """

    @property
    def location(self) -> str:
        """Path or URL for messages, without a password."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether other machines use the same state, and so need the same state key."""
        ...

    @property
    def lease_timing(self) -> LeaseTiming:
        """The lease of the lock that suits the speed of this database."""
        ...

    @property
    def owner_sign(self) -> OwnerSign:
        """What the last read tells of the lock's owner besides the lock row."""
        ...

    @property
    def is_signed(self) -> bool:
        """Whether what is stored is signed with the state key, and begins anew under another."""
        ...

    @property
    def bookmark(self) -> str:
        """Where the log of the state ended when it was last read; "" for a database."""
        ...

    def require_continuation_in_reads(self, bookmark: str) -> None:
        """Have each read raise StateError where the log does not go on from a bookmark."""
        ...

    def exists(self) -> bool:
        """Whether there is a state, readable or not."""
        ...

    def create_state_or_raise_if_exists(self, statements: Sequence[Statement]) -> None:
        """Create the state with these statements, atomically; StateError if there is one."""
        ...

    def read_in_snapshot(
        self, work: Callable[[SqlRunner], T], *, requires_newest: bool = False
    ) -> T:
        """Run the work on one consistent snapshot and return its result.

        A store that is slow to ask may take one that it read a moment ago, unless the caller
        requires what is stored now.
        """
        ...

    def write_in_transaction(self, work: Callable[[SqlRunner], T]) -> T:
        """Run the work as one transaction, serialised with all other writers.

        It is durable when this returns, and rolled back if the work raises.
        """
        ...

    def wait_for_write_turn(
        self, may_defer: Callable[[], bool], report_wait: Callable[[float], None]
    ) -> None:
        """Return when the next shared transaction may begin; at once where writes are fast.

        A slow store waits while `may_defer` is true, so that more writes share one transaction.
        `report_wait` gets the seconds of a wait for its pace, and 0 at its end.
        """
        ...

    @property
    def write_pace(self) -> WritePace:
        """How often this database may be written to."""
        ...

    @property
    def waited_seconds(self) -> float:
        """How long writes have waited so far, so that they do not come more often than that."""
        ...

    def hold_creation_lock(self, operation: str) -> AbstractContextManager[None]:
        """Exclude other processes while there is no state with a lock row; LockHeld if one is in.

        `operation` names the command for messages.
        """
        ...

    def write_backup(self, path: str) -> None:
        """Write a consistent copy as an SQLite file; StateError if the path exists."""
        ...

    def replace_from_backup(
        self,
        source: str,
        check_backup: Callable[[SqlRunner], Sequence[Statement]],
        kept_path_unless_beside_file: str | None,
    ) -> str:
        """Replace the state by a copy of a backup, atomically; returns where the old one is kept.

        `check_backup` reads the backup, may raise, and returns statements to run on the copy. The
        replaced state is kept beside its file (SQLite), or at `kept_path_unless_beside_file` (other
        databases, None: not at all); "" is returned if none is kept. An existing file is never
        replaced: the name gets a number.
        """
        ...

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        """Warnings about where the state is stored, such as a network file system."""
        ...

    def close(self) -> None: ...


class LoglessDatabaseWithoutWaits:
    """The part of a Database whose commit takes no longer than a call: nothing is waited for."""

    @property
    def lease_timing(self) -> LeaseTiming:
        return LeaseTiming()

    @property
    def owner_sign(self) -> OwnerSign:
        """The lock row tells all."""
        return OwnerSign()

    @property
    def bookmark(self) -> str:
        """A database has no log that somebody could cut off."""
        return ""

    def require_continuation_in_reads(self, bookmark: str) -> None:
        """Nothing is required."""

    @property
    def write_pace(self) -> WritePace:
        return WritePace()

    @property
    def waited_seconds(self) -> float:
        return 0.0

    def wait_for_write_turn(
        self, may_defer: Callable[[], bool], report_wait: Callable[[float], None]
    ) -> None:
        """Nothing to wait for: a commit takes no longer than a call."""
