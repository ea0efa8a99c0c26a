"""The lock on a state in a database, and writing under it: nothing is written without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import RemoteError, SynapseApplyError
from synapse_apply.stores import schema, state_messages
from synapse_apply.stores.call_notes import write_notes_if_combinable
from synapse_apply.stores.database import Database, Row, SqlRunner
from synapse_apply.stores.lock.lease import Lease
from synapse_apply.stores.lock.lease_lock import LeaseLock, LockRunner
from synapse_apply.stores.snapshot import read_meta_row
from synapse_apply.stores.write_batch import WriteBatch

# Tells whether it changed what a read of the state gives.
ChangingWork = Callable[[SqlRunner], bool]


class LockedStore:
    """What a store over a Database is under its lock; SqlStore is the rest of it.

    `was_locked_here`: it was held in this process, so the state may have changed.
    """

    def __init__(self, database: Database, runner: LockRunner, now: Callable[[], str]) -> None:
        self._database = database
        self._runner = runner
        self._lock = LeaseLock(database, runner, now)
        self._lease: Lease | None = None
        self.was_locked_here = False
        self._write_batch = WriteBatch(self._commit_batch_under_lock, write_notes_if_combinable)

    @property
    def where(self) -> str:
        """The place of this state, for messages."""
        return self._database.location

    @contextmanager
    def lock(self, operation: str, timeout: float = 0.0) -> Iterator[None]:
        """Every thread of this process may write while it is held.

        LockLost in place of an error that ends the work when the lock is lost by then: what could
        not be read or sent any more is only a consequence.
        """
        with self._acquire_and_hold_lock(operation, timeout) as lease:
            try:
                yield
            except (SynapseApplyError, RemoteError):
                lease.require_valid()
                raise

    def holds_lock(self) -> bool:
        """Whether a request may be started: the lock is held and this process was not silent.

        Asks no database. What others did is noticed at the next write or sign of life.
        """
        return self._lease is not None and self._lease.is_valid

    def is_lock_lost(self) -> bool:
        """Whether the lock that this process holds is another's by now, or may be."""
        return self._lease is not None and not self._lease.is_valid

    def require_lock_not_lost(self) -> None:
        if self._lease is not None:
            self._lease.require_valid()

    def has_failed_write(self) -> bool:
        """Whether a write failed under the lock that is held, and not for what it wanted."""
        return self._write_batch.has_failed_write

    def describe_lock_owner(self) -> tuple[Diagnostic, ...]:
        """Who holds the lock, as a run that wants it would be told; nothing where it is free."""
        return self._lock.describe_lock_owner()

    def unlock(self, lock_id: str) -> None:
        """Remove the lock with this id, else StateError; its holder's next write fails."""
        self._lock.remove_lock_with_id(lock_id)

    def close(self) -> None:
        self._database.close()

    def _write_durably_counting_serial(self, work: ChangingWork) -> None:
        """Do a piece of work, durably; the serial moves by one when it changed something.

        Pieces of several threads that come together share one transaction.
        """
        self._write_batch.write_durably(lambda run: work(run) and run(schema.ADD_TO_SERIAL, (1,)))

    def _commit_batch_under_lock(self, run_batch: Callable[[SqlRunner], object]) -> None:
        """One transaction of the pieces that came together, by the holder of the lock."""
        lease = self._lease
        if lease is None:
            raise state_messages.build_not_locked_error(self.where)
        lease.require_valid()

        def run_batch_under_lock(run: SqlRunner) -> None:
            # Another version may have changed the format since this process looked.
            meta_row = self._read_meta_row(run)
            if lease.is_stored:
                lease.require_still_owner(run, *meta_row[schema.OWNER_SLICE])
            run_batch(run)

        self._database.write_in_transaction(run_batch_under_lock)

    def _read_meta_row(self, run: SqlRunner, location: str = "") -> Row:
        return read_meta_row(run, location or self.where)

    @contextmanager
    def _acquire_and_hold_lock(
        self, operation: str, timeout: float = 0.0, *, repair: bool = False
    ) -> Iterator[Lease]:
        if self._lease is not None:
            raise state_messages.build_locked_here_error(self.where, operation)
        with self._lock.hold_lease(operation, timeout, repair=repair) as lease:
            self._lease = lease
            self.was_locked_here = True
            self._write_batch.has_failed_write = False
            try:
                yield lease
            finally:
                self._lease = None

    @contextmanager
    def _hold_lock_if_not_held(self, operation: str, *, repair: bool = False) -> Iterator[Lease]:
        if self._lease is not None:
            yield self._lease
        else:
            with self._acquire_and_hold_lock(operation, repair=repair) as lease:
                yield lease
