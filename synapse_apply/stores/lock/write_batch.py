"""Which writes of several threads share a transaction, and which thread commits it.

A commit waits for the disk. Writes that arrive during a commit share the next one. No write returns
before the transaction that contains it is durable, as if it had been committed alone.

The leader of a commit holds a lock, which is released however its thread ends. Events only speed up
the usual case: a waiting thread also checks periodically whether the lock is free. So a leader that
is interrupted at any point, even while handing over, leaves no thread waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Event, Lock

from synapse_apply.model.errors import StateError
from synapse_apply.model.ports import CallSlotLoad, ignore_wait
from synapse_apply.stores.database import Row, SqlRunner

# Run again if its transaction is retried: it must do nothing but run statements.
SqlWork = Callable[[SqlRunner], object]
# Takes what `WritePacer.wait_for_turn` takes.
WaitForTurn = Callable[[Callable[[], bool], Callable[[float], None]], None]

# Seconds between two checks of a waiting thread whether there still is a leader. With events alone,
# everybody waited for a leader that was gone.
_LEADER_CHECK_SECONDS = 0.25


class PendingWrite:
    """The write of one thread. `is_done`: it is durable, or has failed with `failure`."""

    def __init__(self, work: SqlWork, is_urgent: bool) -> None:
        self.work = work
        self.is_urgent = is_urgent
        self.failure: BaseException | None = None
        self.is_done = False
        self.wake_event = Event()  # set when it is done, or when its thread is the next leader


class WriteBatch:
    """Combines the writes of any number of threads into one transaction at a time.

    A piece that fails by itself is left out, and the rest is done again.
    """

    def __init__(
        self,
        commit: Callable[[SqlWork], None],
        run_combined: Callable[[Sequence[SqlWork], SqlRunner], bool] = lambda _works, _run: False,
        wait_for_turn: WaitForTurn = lambda _may_commit_wait, _report_wait: None,
    ) -> None:
        """`commit` runs work in one transaction: durable when it returns, undone if it raises.

        `run_combined` runs several works at once, or does nothing and returns False if each must
        run by itself. `wait_for_turn` returns when the next commit may begin (stores/database.py).
        """
        self._commit = commit
        self._wait_for_turn = wait_for_turn
        # How busy the slots for calls are; None while no apply runs, and every write is urgent.
        self.call_load: CallSlotLoad | None = None
        # Gets the seconds of each wait for the pace of the store, and 0 at its end.
        self.report_wait: Callable[[float], None] = ignore_wait
        self._run_combined = run_combined
        self._mutex = Lock()
        self._leadership = Lock()
        self._queue: list[PendingWrite] = []
        # Whether a thread leads or was woken to lead. Only a hint: it may have been interrupted.
        self._has_leader = False
        # A transaction failed for another reason than the input of one of its writes.
        self.has_failed_write = False

    def write_durably(self, work: SqlWork) -> None:
        """Run the work in a transaction and wait until it is durable; raises what it raised."""
        call_load = self.call_load
        # Whoever holds a slot keeps others from calling until this is written.
        pending_write = PendingWrite(work, call_load is None or call_load.holds_slot)
        try:
            with self._mutex:
                self._queue.append(pending_write)
                is_leader = not self._has_leader
                self._has_leader = True
            if not is_leader:
                self._wait(pending_write)
            if not pending_write.is_done:
                with self._leadership:
                    if not pending_write.is_done:
                        self._wait_for_turn(self._may_commit_wait, self.report_wait)
                        self._commit_as_leader(pending_write)
        except BaseException:
            # Drop a write whose thread is interrupted, and wake another leader if there is none.
            with self._mutex:
                if pending_write in self._queue:
                    self._queue.remove(pending_write)
                    if not self._leadership.locked():
                        self._wake_leader()
            raise
        failure = pending_write.failure
        # A copy for each thread that raises it: a raised exception keeps a traceback.
        if isinstance(failure, StateError):
            raise type(failure)(*failure.diagnostics)
        if failure is not None:
            raise failure

    def _may_commit_wait(self) -> bool:
        """Whether a commit may wait: calls go on with what is announced, and no write is urgent."""
        call_load = self.call_load
        if call_load is None or not call_load.has_backlog:
            return False
        with self._mutex:
            return not any(pending_write.is_urgent for pending_write in self._queue)

    def _wait(self, pending_write: PendingWrite) -> None:
        """Wait until the write is done, this thread is to lead, or there is no leader.

        Two threads may conclude that they lead: the lock admits one, and the other then finds its
        write done.
        """
        while not pending_write.wake_event.wait(_LEADER_CHECK_SECONDS):
            if not self._leadership.locked():
                return

    def _wake_leader(self) -> None:
        """Wake the first waiting thread to lead, if there is one. Called with the mutex held."""
        self._has_leader = bool(self._queue)
        if self._queue:
            self._queue[0].wake_event.set()

    def _commit_as_leader(self, own_write: PendingWrite) -> None:
        """Commit all waiting writes, and wake the next leader.

        A write that is no longer waiting was taken by a leader that was interrupted: it fails.
        """
        with self._mutex:
            pending_writes, self._queue = self._queue, []
        try:
            if own_write not in pending_writes:
                own_write.failure, own_write.is_done = _interrupted(), True
            if pending_writes:
                self._commit_batch(pending_writes)
        except BaseException as failure:
            self.has_failed_write = True
            is_ordinary_error = isinstance(failure, Exception)
            for pending_write in pending_writes:
                pending_write.failure = pending_write.failure or (
                    failure if is_ordinary_error else _interrupted()
                )
            if not is_ordinary_error:
                raise
        finally:
            for pending_write in pending_writes:
                pending_write.is_done = True
                pending_write.wake_event.set()
            with self._mutex:
                self._wake_leader()

    def _commit_batch(self, pending_writes: Sequence[PendingWrite]) -> None:
        """Commit the writes; one that fails by its own input is dropped, the rest run again."""
        remaining_writes = list(pending_writes)
        while remaining_writes:
            failed_writes: list[PendingWrite] = []
            try:
                self._commit(partial(self._run_writes, remaining_writes, failed_writes))
            except Exception as failure:
                if not failed_writes or failure is not failed_writes[-1].failure:
                    raise
                remaining_writes.remove(failed_writes[-1])
            else:
                return

    def _run_writes(
        self, writes: Sequence[PendingWrite], failed_writes: list[PendingWrite], run: SqlRunner
    ) -> None:
        """Do several writes in one transaction, which may be run again.

        One that fails by its own input is then the only one of `failed_writes`.
        """
        failed_writes.clear()
        works = [pending_write.work for pending_write in writes]
        if len(works) > 1 and self._run_combined(works, run):
            return
        statement_failures: list[BaseException] = []

        def run_noting_failure(sql: str, values: Sequence[object]) -> list[Row]:
            try:
                return run(sql, values)
            except BaseException as failure:
                statement_failures.append(failure)
                raise

        for pending_write in writes:
            try:
                pending_write.work(run_noting_failure)
            except Exception as failure:
                # An error raised by a statement is the database's and concerns all writes. Any
                # other one is about the input of this write alone.
                if not statement_failures:
                    pending_write.failure = failure
                    failed_writes.append(pending_write)
                raise


def _interrupted() -> StateError:
    """The error for a write whose leader was interrupted: its transaction may be durable or not."""
    return StateError.from_summary(
        "A write of the state was interrupted",
        "The thread that wrote a batch of changes was stopped before it could report whether "
        "all of them were written.",
        "Run the command again: it looks up open calls first.",
    )
