"""Taking a state's lock, waiting for it, and removing one whose holder is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from uuid import uuid4

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import LockHeld, StateError
from synapse_apply.stores import faults, schema
from synapse_apply.stores.database import Database, Run
from synapse_apply.stores.faults import Busy
from synapse_apply.stores.holder import Holder, Process, is_gone, this_process
from synapse_apply.stores.holding import Holding, Timing

MID_WRITE = "A process that is in the middle of a write, or was stopped there,"


@dataclass(frozen=True)
class Runner:
    """What a lock says of who takes it; `target` is the one that commands in messages name.

    Tests put other processes and other times here.
    """

    run_url: str = ""
    target: str = ""
    process: Process = field(default_factory=this_process)
    timing: Timing = field(default_factory=Timing)


class Lock:
    """The lock of one state, as this process sees it."""

    def __init__(self, database: Database, runner: Runner, now: Callable[[], str]) -> None:
        self._database = database
        self._runner = runner
        self._now = now

    @contextmanager
    def hold(self, operation: str, timeout: float, *, repair: bool = False) -> Iterator[Holding]:
        """Hold it for the block; LockHeld when it is not free within `timeout` seconds.

        With `repair` a state that cannot be read is no obstacle.
        """
        with ExitStack() as stack:
            holding = self._wait(operation, timeout, repair, stack)
            try:
                yield holding
            finally:
                holding.give_back()

    def holder(self) -> Holder | None:
        """Who holds it now."""
        return self._database.read(_holder)

    def in_the_way(self) -> tuple[Diagnostic, ...]:
        """What whoever wants it now would be told; nothing where the holder certainly has ended."""
        holder = self.holder()
        if holder is None or is_gone(holder.process, self._runner.process):
            return ()
        return self._held(holder).diagnostics

    def remove(self, owner: str) -> None:
        """Take it from its holder, whose next write fails; StateError when another holds it."""

        def work(run: Run) -> None:
            holder = _holder(run)
            if holder is None or holder.owner != owner:
                command = self._unlock(holder) if holder else ""
                raise faults.not_that_lock(self._database.where, owner, holder, command)
            run(schema.DROP_LOCK, ())

        self._database.write(work)

    def _wait(self, operation: str, timeout: float, repair: bool, stack: ExitStack) -> Holding:
        timing, watch = self._runner.timing, _Watch(self._runner.timing)
        until = timing.monotonic() + timeout
        pause = timing.shortest_pause
        while True:
            try:
                holding = self._try(operation, watch, repair, stack)
            except (LockHeld, Busy) as problem:
                left = until - timing.monotonic()
                if left <= 0 and isinstance(problem, Busy):
                    # Its rows cannot be read: the file system gives the file to it alone.
                    raise faults.held(self._database.where, MID_WRITE) from None
                if left <= 0:
                    raise
                timing.pause(min(pause, left))
                pause = min(2 * pause, timing.longest_pause)
            else:
                if holding is not None:
                    return holding

    def _try(self, operation: str, watch: _Watch, repair: bool, stack: ExitStack) -> Holding | None:
        """None where it is worth another look at once."""
        if not self._database.exists():
            return self._without_state(operation, repair, stack)
        try:
            return self._by_rows(operation, watch)
        except (Busy, LockHeld):
            raise
        except StateError:
            if repair:
                return self._without_state(operation, repair, stack)
            raise

    def _by_rows(self, operation: str, watch: _Watch) -> Holding:
        asked_at = self._runner.timing.monotonic()
        other = self.holder()
        if other is not None and not self._may_take_over(other, watch, asked_at):
            watch.see(other)
            raise self._held(other)
        return self._take(operation, other)

    def _without_state(self, operation: str, repair: bool, stack: ExitStack) -> Holding | None:
        with ExitStack() as mine:
            mine.enter_context(self._database.alone(operation))
            if not repair and self._database.exists():
                return None  # made while we came in
            stack.push(mine.pop_all())
        return Holding(self._database, self._runner.timing, self._new(operation))

    def _may_take_over(self, other: Holder, watch: _Watch, asked_at: float) -> bool:
        gone = is_gone(other.process, self._runner.process)
        return gone or watch.silent(other, asked_at)

    def _take(self, operation: str, expected: Holder | None) -> Holding:
        wanted = self._new(operation)

        def work(run: Run) -> Holder:
            found = _holder(run)
            if found is not None and found != expected:
                raise self._held(found)
            rows = run(schema.GET_META, ())
            if not rows:
                raise faults.damaged(self._database.where, "its first row is missing")
            holder = replace(wanted, token=int(rows[0][schema.FENCE]) + 1)
            run(schema.SET_FENCE, (holder.token,))
            run(schema.DROP_LOCK, ())
            run(schema.ADD_LOCK, holder.to_row())
            return holder

        holding = Holding(self._database, self._runner.timing, wanted)
        written_at = self._runner.timing.boottime()
        holding.seat(self._database.write(work), written_at)
        return holding

    def _held(self, by: Holder) -> LockHeld:
        return faults.held(self._database.where, str(by), self._unlock(by))

    def _unlock(self, holder: Holder) -> str:
        target = f" -t {self._runner.target}" if self._runner.target else ""
        return f"synapse-apply unlock {holder.owner}{target}"

    def _new(self, operation: str) -> Holder:
        at = self._runner
        return Holder(str(uuid4()), 0, 0, at.process, operation, at.run_url, self._now())


class _Watch:
    """Sees a holder's counter stand still, by the watcher's own clock alone."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._seen: Holder | None = None
        self._since = 0.0

    def see(self, holder: Holder) -> None:
        if holder != self._seen:
            # After the answer: the counter was so at the latest now.
            self._seen, self._since = holder, self._timing.monotonic()

    def silent(self, holder: Holder, asked_at: float) -> bool:
        """Whether it is unchanged in an answer that was asked for a lease later."""
        return holder == self._seen and asked_at - self._since >= self._timing.lease


def _holder(run: Run) -> Holder | None:
    return next((Holder.from_row(row) for row in run(schema.GET_LOCK, ())), None)
