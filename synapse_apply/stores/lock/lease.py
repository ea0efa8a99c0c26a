"""When a held lock counts as lost, and how a thread renews it until it is released.

The lock row is authoritative: each write checks in its own transaction that the row still names
this process. In addition a process that was suspended for a lease stops by its own clock, even if
no other process has taken the lock yet.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from threading import Event, Thread
from typing import NamedTuple

from synapse_apply.model.errors import LockLost, StateError
from synapse_apply.stores import schema, state_messages
from synapse_apply.stores.database import Database, SqlRunner, Statement
from synapse_apply.stores.lock.lease_timing import LeaseTiming
from synapse_apply.stores.lock.lock_owner import LockOwner
from synapse_apply.stores.state_messages import RUN_AGAIN_HINT


class NewLockRow(NamedTuple):
    """The owner as the lock row of a new state names it, and the statements that write the row."""

    owner: LockOwner
    statements: list[Statement]


# The lock is a row in the state itself, with a counter as a sign of life and a fencing token that
# only grows. Every write checks in its own transaction that the row still names its holder. The
# holder measures time by the boot-time clock, whoever waits by the monotonic clock: a suspended
# machine neither holds nor watches, and the wall clock decides nothing. The lock file
# (`TARGET.db.lock`) only keeps two processes from creating one state.
class Lease:
    """A lock that this process holds; `is_stored` is False while no state has a row for it."""

    def __init__(self, database: Database, timing: LeaseTiming, lock_owner: LockOwner) -> None:
        """A lease that is not renewed before `start_renewal` is called."""
        self.lock_owner = lock_owner
        self.is_stored = False
        self._database = database
        self._timing = timing
        self._renewed_at = 0.0
        self._lost_error: LockLost | None = None
        self._stop_event = Event()
        self._renewal_thread: Thread | None = None

    @property
    def is_valid(self) -> bool:
        """Whether the lock is still held, judged by the clock and without a query."""
        return self._lost_error is None and not self._has_expired()

    def require_not_lost(self) -> None:
        """LockLost if this process did not renew for a lease, or lost the lock before."""
        if self._lost_error is None and self._has_expired():
            silent_seconds = self._timing.boottime() - self._renewed_at
            self._lost_error = LockLost.from_summary(
                "The lock on the state ran out",
                f"This process did not renew its lock on {self._database.location} for "
                f"{silent_seconds:.0f} seconds; after {self._timing.lease_seconds:g} another may "
                "take its place. Nothing was written since.",
                "It was suspended, or could not reach the state in time. " + RUN_AGAIN_HINT,
            )
        if self._lost_error is not None:
            raise LockLost(*self._lost_error.diagnostics)

    def require_own_row(
        self, run: SqlRunner, stored_lock_id: str | None, stored_token: int | None
    ) -> None:
        """LockLost if the lock row, as read in the transaction that writes, is not this lease's."""
        if (stored_lock_id, stored_token) == (self.lock_owner.lock_id, self.lock_owner.token):
            return
        other_owner = next((str(LockOwner.from_row(row)) for row in run(schema.GET_LOCK, ())), "")
        self._lost_error = state_messages.build_lock_taken_error(
            self._database.location, other_owner
        )
        raise self._lost_error

    def build_next_lock_row(self, fence: int) -> NewLockRow:
        """The statements that write this lease into the tables of a new or restored state.

        `fence` is the greatest token that the new state has seen. The counter goes on from its
        present value: a counter that went back could look unchanged to a waiting process.
        """
        token = self.lock_owner.token if self.is_stored else fence + 1
        new_owner = replace(self.lock_owner, token=token, counter=self.lock_owner.counter + 1)
        statements: list[Statement] = [
            (schema.SET_FENCE, (max(fence, token),)),
            (schema.DROP_LOCK, ()),
            (schema.ADD_LOCK, new_owner.to_row()),
        ]
        return NewLockRow(new_owner, statements)

    def start_renewal(self, lock_owner: LockOwner, written_at: float) -> None:
        """Take note that the lock row names this lease, and start the thread that renews it.

        `written_at` is the boot time just before the row was written.
        """
        self.lock_owner = lock_owner
        self.is_stored = True
        self._renewed_at = written_at
        if self._renewal_thread is None:
            self._renewal_thread = Thread(target=self._renew, name="lease", daemon=True)
            self._renewal_thread.start()

    def record_renewal(self, written_at: float) -> None:
        """Take note of a write that shows waiting processes that this one works on.

        `written_at` is the boot time just before it. A lease that ran out meanwhile is not revived.
        """
        # A write that was decided after the lease had ended proves nothing to who waited for it.
        if self.is_valid:
            self._renewed_at = max(self._renewed_at, written_at)

    def release_if_possible(self) -> None:
        """Stop renewing and delete the lock row, unless it is another process's by now."""
        self._stop_event.set()
        if self._renewal_thread is not None:
            # A heartbeat that is on its way would write the row again behind its end.
            self._renewal_thread.join()
        if self.is_stored:
            # If the row cannot be deleted now, the lease expires by itself.
            with suppress(StateError):
                self._database.write_in_transaction(
                    lambda run: run(schema.RELEASE_LOCK, (self.lock_owner.lock_id,))
                )

    def _has_expired(self) -> bool:
        silent_seconds = self._timing.boottime() - self._renewed_at
        return self.is_stored and silent_seconds >= self._timing.lease_seconds

    def _renew(self) -> None:
        wait_seconds = self._timing.heartbeat_seconds
        while not self._stop_event.wait(wait_seconds):
            try:
                # In some stores other writes have renewed the lease.
                silent_seconds = self._timing.boottime() - self._renewed_at
                wait_seconds = self._timing.heartbeat_seconds - silent_seconds
                if wait_seconds <= 0:
                    self._send_heartbeat()
                    wait_seconds = self._timing.heartbeat_seconds
            except LockLost:
                return
            except StateError:
                # Retried sooner: the database may be back before the lease expires.
                wait_seconds = self._timing.heartbeat_seconds / 4

    def _send_heartbeat(self) -> None:
        self.require_not_lost()
        sent_at = self._timing.boottime()
        counter = self._database.write_in_transaction(self._require_ownership)
        self.require_not_lost()  # an answer that came after the lease does not revive it
        self.lock_owner = replace(self.lock_owner, counter=counter)
        # The time before the write: another process may count from any moment after it.
        self._renewed_at = sent_at

    def _require_ownership(self, run: SqlRunner) -> int:
        lock_owners = [LockOwner.from_row(row) for row in run(schema.GET_LOCK, ())]
        lock_id, token = (
            (lock_owners[0].lock_id, lock_owners[0].token) if lock_owners else (None, None)
        )
        self.require_own_row(run, lock_id, token)
        run(schema.COUNT_HEARTBEAT, (self.lock_owner.lock_id,))
        return lock_owners[0].counter + 1
