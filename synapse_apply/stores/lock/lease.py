"""One holding of a lock, kept alive by a thread until it is given back or lost.

The rows are the authority: a write looks in its own transaction whether the holding is still the
one that they name. The clock comes before: a process that was suspended stops by itself, also
where nobody has taken its place yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Event, Thread

from synapse_apply.model.errors import LockLost, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.stores import schema, state_messages
from synapse_apply.stores.database import Database, SqlRunner, Statement
from synapse_apply.stores.lock.boot_clock import read_boottime
from synapse_apply.stores.lock.lock_owner import LockOwner


@frozen
class LeaseTiming:
    """How long a lease lasts, and the clocks; all in seconds.

    Who waits for a lock looks after `shortest_pause` and then less and less often. A lease is
    watched by the monotonic clock, since a watcher that was suspended has not watched, and kept
    by the boot-time clock, since a holder that was suspended has not held.
    """

    lease_seconds: float = 30.0
    heartbeat_seconds: float = 10.0
    shortest_pause: float = 0.05
    longest_pause: float = 1.0
    monotonic: Callable[[], float] = time.monotonic
    boottime: Callable[[], float] = read_boottime
    sleep_for: Callable[[float], None] = time.sleep


# The lock is a row in the state itself, with a counter as a sign of life and a fencing token that
# only grows. Every write checks in its own transaction that the row still names its holder. The
# holder measures time by the boot-time clock, whoever waits by the monotonic clock: a suspended
# machine neither holds nor watches, and the wall clock decides nothing. The lock file
# (`TARGET.db.lock`) only keeps two processes from creating one state.
class Lease:
    """A lock that this process holds; `is_stored` is False while no state has a row for it."""

    def __init__(self, database: Database, timing: LeaseTiming, lock_owner: LockOwner) -> None:
        """Not kept alive before `record_stored_and_renew`."""
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
        """Whether work may go on, as far as can be told without asking the database."""
        return self._lost_error is None and not self._has_expired()

    def require_valid(self) -> None:
        """LockLost where this process was silent for a lease or has lost the lock before."""
        if self._lost_error is None and self._has_expired():
            silent_seconds = self._timing.boottime() - self._renewed_at
            self._lost_error = state_messages.build_lease_expired_error(
                self._database.location, silent_seconds, self._timing.lease_seconds
            )
        if self._lost_error is not None:
            raise LockLost(*self._lost_error.diagnostics)

    def require_still_owner(self, run: SqlRunner, lock_id: str | None, token: int | None) -> None:
        """LockLost where the rows, read in the transaction that is to write, name another."""
        if (lock_id, token) == (self.lock_owner.lock_id, self.lock_owner.token):
            return
        other_owner = next((str(LockOwner.from_row(row)) for row in run(schema.GET_LOCK, ())), "")
        self._lost_error = state_messages.build_lock_taken_error(
            self._database.location, other_owner
        )
        raise self._lost_error

    def build_new_lock_row(self, fence: int) -> tuple[LockOwner, list[Statement]]:
        """The holder as it is to be written into a new state, and the statements that do it.

        `fence` is the greatest token the new state knows. Rows that come anew count on: a counter
        that went back could look as if it had stood still.
        """
        token = self.lock_owner.token if self.is_stored else fence + 1
        new_owner = replace(self.lock_owner, token=token, counter=self.lock_owner.counter + 1)
        return new_owner, [
            (schema.SET_FENCE, (max(fence, token),)),
            (schema.DROP_LOCK, ()),
            (schema.ADD_LOCK, new_owner.to_row()),
        ]

    def record_stored_and_renew(self, lock_owner: LockOwner, written_at: float) -> None:
        """The rows name this holding since `written_at` (boot time) or a little later."""
        self.lock_owner = lock_owner
        self.is_stored = True
        self._renewed_at = written_at
        if self._renewal_thread is None:
            self._renewal_thread = Thread(
                target=self._renew_until_released, name="lease", daemon=True
            )
            self._renewal_thread.start()

    def stop_renewal_and_release(self) -> None:
        """Whoever comes next need not wait; a holding that was lost leaves the other's alone."""
        self._stop_event.set()
        if self._renewal_thread is not None:
            self._renewal_thread.join()
        if self.is_stored:
            # What cannot be given back now runs out by itself.
            with suppress(StateError):
                self._database.write_in_transaction(
                    lambda run: run(schema.RELEASE_LOCK, (self.lock_owner.lock_id,))
                )

    def _has_expired(self) -> bool:
        silent_seconds = self._timing.boottime() - self._renewed_at
        return self.is_stored and silent_seconds >= self._timing.lease_seconds

    def _renew_until_released(self) -> None:
        wait_seconds = self._timing.heartbeat_seconds
        while not self._stop_event.wait(wait_seconds):
            try:
                self._send_heartbeat()
                wait_seconds = self._timing.heartbeat_seconds
            except LockLost:
                return
            except StateError:
                # The database may be back before the lease is over.
                wait_seconds = self._timing.heartbeat_seconds / 4

    def _send_heartbeat(self) -> None:
        self.require_valid()
        sent_at = self._timing.boottime()
        counter = self._database.write_in_transaction(self._increment_stored_counter)
        self.require_valid()  # an answer after the lease does not bring back what has ended
        self.lock_owner = replace(self.lock_owner, counter=counter)
        self._renewed_at = sent_at

    def _increment_stored_counter(self, run: SqlRunner) -> int:
        lock_owners = [LockOwner.from_row(row) for row in run(schema.GET_LOCK, ())]
        lock_id, token = (
            (lock_owners[0].lock_id, lock_owners[0].token) if lock_owners else (None, None)
        )
        self.require_still_owner(run, lock_id, token)
        run(schema.COUNT_HEARTBEAT, (self.lock_owner.lock_id,))
        return lock_owners[0].counter + 1
