"""How long a state's lock is waited for, and when it may be taken, taken over or removed.

When a held lock counts as lost, and how a thread renews it until it is released. The lock row is
authoritative: it is in the state itself, with a counter as a sign of life and a fencing token that
only grows, and each write checks in its own transaction that it still names this process. In
addition a process that was suspended for a lease stops by its own clock, even if no other process
has taken the lock yet. The holder measures time by the boot-time clock, whoever waits by the
monotonic clock: a suspended machine neither holds nor watches, and the wall clock decides nothing.
A lock file (`TARGET.db.lock`) only keeps two processes from creating one state.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import field
from threading import Event, Thread
from uuid import uuid4

from synapse_apply.model.command import Command
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import LockHeld, LockLost, StateError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.stores import schema
from synapse_apply.stores.database import Database, LeaseTiming, OwnerSign, SqlRunner
from synapse_apply.stores.lock.lock_owner import (
    LockOwner,
    LockProcess,
    has_certainly_ended,
    identify_this_process,
)
from synapse_apply.stores.state_messages import StoreBusyError, fault


class Lease:
    """A lock that this process holds; `is_stored` is False while no state has a row for it."""

    def __init__(self, database: Database, timing: LeaseTiming, lock_owner: LockOwner) -> None:
        """A lease that is not renewed before `start_renewal` is called."""
        self.lock_owner = lock_owner
        self.is_stored = False
        self._database = database
        self._timing = timing
        self._renewed_at = 0.0
        self._lost_error: StateError | None = None
        self._stop_event = Event()
        self._renewal_thread: Thread | None = None

    @property
    def is_valid(self) -> bool:
        """Whether the lock is still held, judged by the clock and without a query."""
        return self._lost_error is None and not self._has_expired()

    def require_not_lost(self) -> None:
        """LockLost if this process did not renew for a lease, or lost the lock before."""
        if self._lost_error is None and self._has_expired():
            self._lost_error = fault(
                "lease over",
                self._database.location,
                silent=f"{self._silent_seconds():.0f}",
                lease=f"{self._timing.lease_seconds:g}",
            )
        if self._lost_error is not None:
            raise LockLost(*self._lost_error.diagnostics)

    def require_own_row(
        self, run: SqlRunner, stored_lock_id: str | None, stored_token: int | None
    ) -> None:
        """LockLost if the lock row, as read in the transaction that writes, is not this lease's."""
        if (stored_lock_id, stored_token) == (self.lock_owner.lock_id, self.lock_owner.token):
            return
        other_owner = _read_owner(run)
        self._lost_error = fault(
            "taken over" if other_owner else "lock removed",
            self._database.location,
            owner=other_owner,
        )
        raise self._lost_error

    def next_owner(self, fence: int) -> LockOwner:
        """This lease's owner in the tables of a new or restored state.

        `fence` is the greatest token that the new state has seen. The counter goes on from its
        present value: a counter that went back could look unchanged to a waiting process.
        """
        token = self.lock_owner.token if self.is_stored else fence + 1
        return replace(self.lock_owner, token=token, counter=self.lock_owner.counter + 1)

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

    def _silent_seconds(self) -> float:
        return self._timing.boottime() - self._renewed_at

    def _has_expired(self) -> bool:
        return self.is_stored and self._silent_seconds() >= self._timing.lease_seconds

    def _renew(self) -> None:
        wait_seconds = self._timing.heartbeat_seconds
        while not self._stop_event.wait(wait_seconds):
            try:
                # In some stores other writes have renewed the lease.
                wait_seconds = self._timing.heartbeat_seconds - self._silent_seconds()
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
        """Write a sign of life; returns the counter. LockLost if the row is not this lease's."""
        owner = _read_owner(run)
        if owner is None:
            self.require_own_row(run, None, None)
            return 0
        self.require_own_row(run, owner.lock_id, owner.token)
        run(schema.COUNT_HEARTBEAT, (owner.lock_id,))
        return owner.counter + 1


# The subject of a sentence, where the lock row cannot be read.
MID_WRITE = "A process that is writing, or was stopped during a write,"


@frozen
class LockRunner:
    """Who takes a lock: the CI run's URL, this process, and the timing.

    `target` is named by the commands in messages. `timing` is that of the store if it is None.
    Tests replace process and timing.
    """

    run_url: str = ""
    target: str = ""
    process: LockProcess = field(default_factory=identify_this_process)
    timing: LeaseTiming | None = None


class LeaseLock:
    """The lock of one state, as this process sees it."""

    def __init__(self, database: Database, runner: LockRunner, now: Callable[[], str]) -> None:
        self._database = database
        self._runner = runner
        self._timing = runner.timing or database.lease_timing
        self._now = now
        self._lost_sign: tuple[LockOwner, OwnerSign] | None = None

    def read_owner_or_none(self) -> LockOwner | None:
        """The owner that the lock row names now, None without a row."""
        return self._database.read_in_snapshot(_read_owner, requires_newest=True)

    def list_lock_held_findings_unless_owner_ended(self) -> tuple[Diagnostic, ...]:
        """The findings a run would get that wants the lock now; () if it could take it at once."""
        sign = self._read_sign_of_running_owner()
        if sign is None or sign == self._lost_sign:
            return ()
        return self._fault_of_owner("held with id", sign[0]).diagnostics

    def wait_out_owner(self) -> bool:
        """Wait for the owner's next sign of life: False at one, True after a lease without any.

        True at once where the lock is free. An owner that was silent for so long is lost: no
        finding is about it from then on, and its lock is taken over at once.
        """
        timing, owner_watch = self._timing, _OwnerWatch(self._timing)
        read_at = timing.monotonic()
        first_sign = sign = self._read_sign_of_running_owner()
        while sign is not None and sign == first_sign:
            if owner_watch.is_silent(*sign, read_at):
                self._lost_sign = sign
                return True
            timing.sleep_for(timing.longest_pause)
            read_at = timing.monotonic()
            sign = self._read_sign_of_running_owner()
        return sign is None

    def _read_sign_of_running_owner(self) -> tuple[LockOwner, OwnerSign] | None:
        """The owner of the lock with its sign of life, None if none is there or it has ended."""
        lock_owner = self.read_owner_or_none()
        if lock_owner is None or has_certainly_ended(lock_owner.process, self._runner.process):
            return None
        return lock_owner, self._database.owner_sign

    def remove_lock_with_id(self, lock_id: str) -> None:
        """Delete the lock row with this id; StateError for another one. Its owner's writes fail."""

        def delete_lock_row(run: SqlRunner) -> None:
            lock_owner = _read_owner(run)
            if lock_owner is None:
                raise fault("no lock", self._database.location)
            if lock_owner.lock_id != lock_id:
                raise self._fault_of_owner("other lock", lock_owner, id=lock_id)
            run(schema.DROP_LOCK, ())

        self._database.write_in_transaction(delete_lock_row)

    def acquire(
        self, operation: str, timeout: float, stack: ExitStack, *, repair: bool = False
    ) -> Lease:
        """A lease that `stack` ends; LockHeld if the lock is not free within `timeout` seconds.

        It is tried again with growing pauses. With `repair` a state that cannot be read is locked
        as one that does not exist.
        """
        timing, owner_watch = self._timing, _OwnerWatch(self._timing)
        deadline = timing.monotonic() + timeout
        pause_seconds = timing.shortest_pause
        while True:
            try:
                lease = self._try_acquire(operation, owner_watch, repair, stack)
            except (LockHeld, StoreBusyError) as problem:
                seconds_left = deadline - timing.monotonic()
                if seconds_left <= 0 and isinstance(problem, StoreBusyError):
                    # Another process has locked the file itself, so that no row can be read.
                    raise fault("held", self._database.location, owner=MID_WRITE) from None
                if seconds_left <= 0:
                    raise
                timing.sleep_for(min(pause_seconds, seconds_left))
                pause_seconds = min(2 * pause_seconds, timing.longest_pause)
            else:
                if lease is not None:
                    stack.callback(lease.release_if_possible)
                    return lease

    def _try_acquire(
        self, operation: str, owner_watch: _OwnerWatch, repair: bool, stack: ExitStack
    ) -> Lease | None:
        """Take the lock; LockHeld or StoreBusyError if it is not free, None to try again at once.

        `stack` keeps the creation lock, where one is needed, until the lease ends.
        """
        if self._database.exists():
            try:
                return self._try_lock(operation, owner_watch)
            except (StoreBusyError, LockHeld):
                raise
            except StateError:
                # A restore must be possible when the rows of the lock cannot be read.
                if not repair:
                    raise
        with ExitStack() as creation_lock_stack:
            creation_lock_stack.enter_context(self._database.hold_creation_lock(operation))
            if not repair and self._database.exists():
                return None  # another process created it before we had the lock
            stack.push(creation_lock_stack.pop_all())
        return Lease(self._database, self._timing, self._build_new_owner(operation))

    def _try_lock(self, operation: str, owner_watch: _OwnerWatch) -> Lease:
        """Take a free lock, or that of an owner that ended or is silent; else LockHeld at once.

        `owner_watch` keeps what was seen of the owner, so that a later try can tell its silence.
        """
        # Before the read: the row was in the state that is read at some moment after this.
        read_at = self._timing.monotonic()
        expected_owner = self.read_owner_or_none()
        owner_sign = self._database.owner_sign
        if expected_owner is not None and not (
            has_certainly_ended(expected_owner.process, self._runner.process)
            or (expected_owner, owner_sign) == self._lost_sign
            or owner_watch.is_silent(expected_owner, owner_sign, read_at)
        ):
            raise self._fault_of_owner("held with id", expected_owner)
        new_owner = self._build_new_owner(operation)

        def replace_lock_row(run: SqlRunner) -> LockOwner:
            current_owner = _read_owner(run)
            if current_owner is not None and current_owner != expected_owner:
                raise self._fault_of_owner("held with id", current_owner)
            meta_rows = run(schema.GET_META, ())
            if not meta_rows:
                raise fault("damaged", self._database.location, reason="its first row is missing")
            numbered_owner = replace(new_owner, token=int(meta_rows[0][schema.FENCE_INDEX]) + 1)
            for statement in numbered_owner.statements():
                run(*statement)
            return numbered_owner

        lease = Lease(self._database, self._timing, new_owner)
        written_at = self._timing.boottime()
        lease.start_renewal(self._database.write_in_transaction(replace_lock_row), written_at)
        return lease

    def _fault_of_owner(self, rule: str, lock_owner: LockOwner, **values: object) -> StateError:
        """The error about who holds the lock, with the command that would remove it."""
        unlock = Command("state unlock", lock_owner.lock_id, target=self._runner.target)
        return fault(
            rule,
            self._database.location,
            owner=lock_owner,
            unlock=unlock.format_command_line(),
            **values,
        )

    def _build_new_owner(self, operation: str) -> LockOwner:
        runner = self._runner
        return LockOwner(str(uuid4()), 0, 0, runner.process, operation, runner.run_url, self._now())


class _OwnerWatch:
    """Detects that an owner gives no sign of life, by the clock of this process alone.

    The clocks of two machines may differ, so that times written by the owner are not compared.
    """

    def __init__(self, timing: LeaseTiming) -> None:
        self._timing = timing
        self._last_seen: tuple[LockOwner, OwnerSign] | None = None
        self._unchanged_since = 0.0

    def is_silent(self, lock_owner: LockOwner, owner_sign: OwnerSign, read_at: float) -> bool:
        """Whether what was read at `read_at` was first seen a lease of its owner before."""
        if (lock_owner, owner_sign) != self._last_seen:
            # The time after the read: the row had this counter at the latest now.
            self._last_seen = lock_owner, owner_sign
            self._unchanged_since = self._timing.monotonic()
            return False
        lease_seconds = owner_sign.lease_seconds or self._timing.lease_seconds
        return read_at - self._unchanged_since >= lease_seconds


def _read_owner(run: SqlRunner) -> LockOwner | None:
    return next((LockOwner.from_row(row) for row in run(schema.GET_LOCK, ())), None)
