"""When a write to a state is allowed: only under its lock, checked in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import RemoteError, SynapseApplyError
from synapse_apply.model.ports import CallSlotLoad, ignore_wait
from synapse_apply.model.state import STATE_FORMAT
from synapse_apply.stores import schema, state_messages
from synapse_apply.stores.call_notes import write_notes
from synapse_apply.stores.database import Database, Row, SqlRunner
from synapse_apply.stores.lock.lease import Lease
from synapse_apply.stores.lock.lease_lock import LeaseLock, LockRunner
from synapse_apply.stores.snapshot import require_known_format
from synapse_apply.stores.write_batch import WriteBatch

# Returns whether it changed what `read_state` gives, and so the serial.
ChangingWork = Callable[[SqlRunner], bool]


class LockedStore:
    """The locking half of SqlStore: lock, unlock, and transactions that need the lock.

    `was_locked_here`: this process has held the lock, so that it may have changed the state.
    """

    def __init__(self, database: Database, runner: LockRunner, now: Callable[[], str]) -> None:
        self._database = database
        self._runner = runner
        self._timing = runner.timing or database.lease_timing
        self._lock = LeaseLock(database, runner, now)
        self._lease: Lease | None = None
        self.was_locked_here = False
        self._read_format = STATE_FORMAT
        self._write_batch = WriteBatch(
            self._commit_batch, write_notes, database.wait_for_write_turn
        )

    @property
    def where(self) -> str:
        """Path or URL of this state for messages, without a password."""
        return self._database.location

    @contextmanager
    def lock(self, operation: str, timeout: float = 0.0) -> Iterator[None]:
        """Hold the lock during the block, in which every thread of this process may write.

        LockHeld if it is not free within `timeout` seconds. If the lock is lost when the block
        raises, LockLost replaces that error, which is only a consequence.
        """
        with self._acquire_and_hold_lock(operation, timeout) as lease:
            try:
                yield
            except (SynapseApplyError, RemoteError):
                lease.require_not_lost()
                raise

    def holds_lock(self) -> bool:
        """Whether a request may be started: the lock is held and its lease has not expired.

        Judged without a query: a lock that was removed is noticed at the next write or renewal.
        """
        return self._lease is not None and self._lease.is_valid

    def is_lock_lost(self) -> bool:
        """Whether this process took the lock and its lease has expired or was taken over."""
        return self._lease is not None and not self._lease.is_valid

    def require_lock_not_lost(self) -> None:
        """LockLost if `is_lock_lost`; nothing without a lock that was taken."""
        if self._lease is not None:
            self._lease.require_not_lost()

    def has_failed_write(self) -> bool:
        """Whether a transaction failed under the present lock for another reason than its input."""
        return self._write_batch.has_failed_write

    @property
    def seconds_to_start(self) -> float:
        """A call is sent at most so long after the time of its intents."""
        return self._timing.seconds_to_start

    @property
    def lease_seconds(self) -> float:
        """After so long without a sign of life another process may take the lock."""
        return self._timing.lease_seconds

    @property
    def waited_seconds(self) -> float:
        """How long writes have waited so far, to spare the host of the state."""
        return self._database.waited_seconds

    @property
    def is_slow(self) -> bool:
        """Whether a write takes longer than most calls, so that many are announced together."""
        return self._database.write_pace.longest_deferral > 0

    @contextmanager
    def defer_writes_while_busy(
        self, call_load: CallSlotLoad, report_wait: Callable[[float], None] = ignore_wait
    ) -> Iterator[None]:
        """Let writes of a slow store wait for others in the block, while calls are busy.

        `report_wait` gets the seconds of each wait for the pace of the store, and 0 at its end.
        """
        self._write_batch.call_load, self._write_batch.report_wait = call_load, report_wait
        try:
            yield
        finally:
            self._write_batch.call_load, self._write_batch.report_wait = None, ignore_wait

    def list_lock_held_findings_unless_owner_ended(self) -> tuple[Diagnostic, ...]:
        """The findings a run would get that wants the lock now; () if it could take it at once."""
        return self._lock.list_lock_held_findings_unless_owner_ended()

    def remove_lock_even_if_in_use(self, lock_id: str) -> None:
        """Remove the lock with this id; StateError for another one. Its owner's writes fail."""
        self._lock.remove_lock_with_id(lock_id)

    def close(self) -> None:
        self._database.close()

    def _write_counted(self, work: ChangingWork) -> None:
        """Run the work in a transaction; adds one to the serial if the work returns True.

        Works of several threads at the same time share one transaction.
        """
        self._write_batch.write_durably(lambda run: work(run) and run(schema.ADD_TO_SERIAL, (1,)))

    def _commit_batch(self, run_batch: Callable[[SqlRunner], object]) -> None:
        """Run a batch in one transaction; StateError without the lock, LockLost if it was lost."""
        lease = self._lease
        if lease is None:
            raise state_messages.build_not_locked_error(self.where)
        lease.require_not_lost()

        def run_batch_under_lock(run: SqlRunner) -> None:
            # A newer version may have changed the format since this process read it.
            meta_row = self._known_meta(run)
            if lease.is_stored:
                lease.require_own_row(run, *meta_row[schema.OWNER_SLICE])
            # From now on an older version, which would drop what it does not know, is refused.
            if meta_row[0] < STATE_FORMAT:
                run(schema.SET_FORMAT, (STATE_FORMAT,))
            run_batch(run)

        # The time before the write: a lease must not be believed longer than others see it.
        written_at, sign_before = self._timing.boottime(), self._database.owner_sign
        self._database.write_in_transaction(run_batch_under_lock)
        # A write to a shared log is a sign of life, too; it spares the heartbeat one commit.
        if self._database.owner_sign != sign_before:
            lease.record_renewal(written_at)

    def _known_meta(self, run: SqlRunner, location: str = "") -> Row:
        meta_row = require_known_format(run, location or self.where)
        if not location:
            self._read_format = int(meta_row[0])
        return meta_row

    @contextmanager
    def _acquire_and_hold_lock(
        self, operation: str, timeout: float = 0.0, *, repair: bool = False
    ) -> Iterator[Lease]:
        """Take the lock for the block; StateError if this store holds it already."""
        if self._lease is not None:
            raise state_messages.build_locked_here_error(self.where, operation)
        with self._lock.hold_lease_or_raise_held(operation, timeout, repair=repair) as lease:
            self._lease = lease
            self.was_locked_here = True
            self._write_batch.has_failed_write = False
            try:
                yield lease
            finally:
                self._lease = None

    @contextmanager
    def _hold_lock(self, operation: str, *, repair: bool = False) -> Iterator[Lease]:
        """The lease that is held, else the lock is taken for the block."""
        if self._lease is not None:
            yield self._lease
        else:
            with self._acquire_and_hold_lock(operation, repair=repair) as lease:
                yield lease
