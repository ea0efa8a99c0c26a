"""Group commit: the writes of many threads as few transactions, and who leads each of them.

A commit waits for the disk, and so many writes would wait in line. Who comes while a commit is
under way shares the next one with everybody else who came. Nobody's write returns before the
commit that holds it is durable, so a shared commit promises what one alone does.

Who leads holds a lock, which the interpreter gives back however the thread leaves it. Events only
make the usual way fast: who waits for one also looks, now and then, whether the lock is free. So
a leader that is interrupted at any place, even while it hands over, leaves nobody waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Lock

from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import StateError
from synapse_apply.stores.database import Row, SqlRunner

# Done again where its transaction is: it must do nothing but run statements.
SqlWork = Callable[[SqlRunner], object]

# Seconds after which who waits looks whether anybody leads at all.
# The leader holds a lock, since the interpreter releases a lock wherever a thread is interrupted.
# With events alone, everybody waited for a leader that was gone.
_LEADER_CHECK_SECONDS = 0.25


class PendingWrite:
    """One thread's part of a transaction. `is_done` tells that it is durable or has failed."""

    def __init__(self, work: SqlWork) -> None:
        self.work = work
        self.failure: BaseException | None = None
        self.is_done = False
        self.wake_event = Event()  # it has ended, or its thread is the next to lead


# Group commit: a commit waits for the disk, and intents would wait in line. Writes that arrive
# during a commit share the next one; none returns before it is durable. A piece that fails by
# itself is left out, and the rest is done again.
class WriteBatch:
    """Writes by one transaction at a time; any number of threads."""

    def __init__(
        self,
        commit: Callable[[SqlWork], None],
        run_combined: Callable[[Sequence[SqlWork], SqlRunner], bool] = lambda _works, _run: False,
    ) -> None:
        """`commit` does work in one transaction: durable when it returns, undone when it raises.

        `run_combined` does several works at once, or tells that each must be done by itself
        (False); then it has done nothing.
        """
        self._commit = commit
        self._run_combined = run_combined
        self._mutex = Lock()
        self._leadership = Lock()
        self._queue: list[PendingWrite] = []
        # Whether somebody leads or was told to. Only a hint: that thread may be gone.
        self._has_leader = False
        # A transaction failed, and not for what a piece of it wanted.
        self.has_failed_write = False

    def write_durably(self, work: SqlWork) -> None:
        """Do one piece of work and wait until it is durable; raises what it raised."""
        pending_write = PendingWrite(work)
        try:
            with self._mutex:
                self._queue.append(pending_write)
                is_leader = not self._has_leader
                self._has_leader = True
            if not is_leader:
                self._wait_until_done_or_leader(pending_write)
            if not pending_write.is_done:
                with self._leadership:
                    if not pending_write.is_done:
                        self._commit_as_leader(pending_write)
        except BaseException:
            self._withdraw_write(pending_write)
            raise
        if pending_write.failure is not None:
            raise _copy_state_error(pending_write.failure)

    def _wait_until_done_or_leader(self, pending_write: PendingWrite) -> None:
        """Until the piece has ended or its thread is to lead, which it also is where nobody does.

        Two that want to lead do no harm: the lock lets one in, and the other finds its work done.
        """
        while not pending_write.wake_event.wait(_LEADER_CHECK_SECONDS):
            if not self._leadership.locked():
                return

    def _withdraw_write(self, pending_write: PendingWrite) -> None:
        """An interrupt: the piece is not written any more, and another one may have to lead."""
        with self._mutex:
            if pending_write in self._queue:
                self._queue.remove(pending_write)
                if not self._leadership.locked():
                    self._wake_next_leader()

    def _wake_next_leader(self) -> None:
        """Let the first of those who wait lead, if there is one. The mutex is held."""
        self._has_leader = bool(self._queue)
        if self._queue:
            self._queue[0].wake_event.set()

    def _commit_as_leader(self, own_write: PendingWrite) -> None:
        """Write what is waiting, our own piece among it, and let the next one lead."""
        with self._mutex:
            pending_writes, self._queue = self._queue, []
        try:
            if own_write not in pending_writes:
                own_write.failure, own_write.is_done = _build_interrupted_write_error(), True
            if pending_writes:
                self._commit_dropping_failed_writes(pending_writes)
        except BaseException as failure:
            self.has_failed_write = True
            is_ordinary_error = isinstance(failure, Exception)
            for pending_write in pending_writes:
                pending_write.failure = pending_write.failure or (
                    failure if is_ordinary_error else _build_interrupted_write_error()
                )
            if not is_ordinary_error:
                raise
        finally:
            for pending_write in pending_writes:
                pending_write.is_done = True
                pending_write.wake_event.set()
            with self._mutex:
                self._wake_next_leader()

    def _commit_dropping_failed_writes(self, pending_writes: Sequence[PendingWrite]) -> None:
        """What fails by itself is left out, and the rest is done again without it."""
        remaining_writes = list(pending_writes)
        while remaining_writes:
            attempt = _BatchAttempt(remaining_writes, self._run_combined)
            try:
                self._commit(attempt)
            except Exception as failure:
                if attempt.failed_write is None or failure is not attempt.failed_write.failure:
                    raise
                remaining_writes.remove(attempt.failed_write)
            else:
                return


class _BatchAttempt:
    """One transaction of several pieces; it may be carried out more than once."""

    def __init__(
        self,
        pending_writes: Sequence[PendingWrite],
        run_combined: Callable[[Sequence[SqlWork], SqlRunner], bool],
    ) -> None:
        self._pending_writes = pending_writes
        self._run_combined = run_combined
        self.failed_write: PendingWrite | None = None

    def __call__(self, run: SqlRunner) -> None:
        self.failed_write = None
        works = [pending_write.work for pending_write in self._pending_writes]
        if len(works) > 1 and self._run_combined(works, run):
            return
        statement_failures: list[BaseException] = []

        def run_noting_failure(sql: str, values: Sequence[object]) -> list[Row]:
            try:
                return run(sql, values)
            except BaseException as failure:
                statement_failures.append(failure)
                raise

        for pending_write in self._pending_writes:
            try:
                pending_write.work(run_noting_failure)
            except Exception as failure:
                # What a statement raised is the database's: it concerns every piece alike.
                if not statement_failures:
                    pending_write.failure, self.failed_write = failure, pending_write
                raise


def _copy_state_error(failure: BaseException) -> BaseException:
    """An exception that several threads raise must not be one object: it keeps tracebacks."""
    if isinstance(failure, StateError):
        return type(failure)(*failure.diagnostics)
    return failure


def _build_interrupted_write_error() -> StateError:
    """What is said of a write whose leader was interrupted: its transaction may be durable."""
    return StateError(
        error_finding(
            "A write of the state was interrupted",
            "The thread that wrote it together with others was stopped before it could tell "
            "whether all of it is written.",
            "Run the command again: what is open is looked up first.",
        )
    )
