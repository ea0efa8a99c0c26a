"""The clocks and the chance that the loop reads, and the threads of what runs beside it."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Condition, Thread


class Clock:
    """The clocks of this machine, and chance; used by any thread."""

    def read_wall(self) -> float:
        """Seconds since the epoch. It may jump."""
        return time.time()

    def read_counter(self) -> float:
        """Seconds of a clock that only counts."""
        return time.monotonic()

    def draw_fraction(self) -> float:
        """A random number from 0 up to 1, excluded."""
        return random.random()  # noqa: S311 - jitter, nothing secret

    def draw_random_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)


class CorrectedClock(Clock):
    """A clock whose wall time moves with the counter, and jumps only by `move_wall_time_by`.

    So a due time that is computed and written within one transaction of the store was computed
    either before the jump, and is shifted with the others, or after it, and needs no shift.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.read_wall() - clock.read_counter()

    def read_wall(self) -> float:
        return self.read_counter() + self._offset

    def read_counter(self) -> float:
        return self._clock.read_counter()

    def draw_fraction(self) -> float:
        return self._clock.draw_fraction()

    def draw_random_bytes(self, count: int) -> bytes:
        return self._clock.draw_random_bytes(count)

    def measure_ahead(self) -> float:
        """By how many seconds the wall clock behind this one is ahead of `read_wall`."""
        return self._clock.read_wall() - self.read_wall()

    def move_wall_time_by(self, seconds: float) -> None:
        """Let `read_wall` jump; called by one thread alone."""
        self._offset += seconds


# By half of it a clock that is measured may be wrong.
_MOST_ANSWER_SECONDS = 0.5


class SharedClock(CorrectedClock):
    """A clock whose wall clock is that of a database.

    So all processes that share the database share a clock, however wrong those of their machines
    are.
    """

    def __init__(self, clock: Clock, read_database_clock: Callable[[], float | None]) -> None:
        """Asks the database; what that raises is raised. Of None, the machine's clock is used."""
        super().__init__(clock)
        self._read_database_clock = read_database_clock
        self._is_measured = False
        self.adjust_to_database()

    def adjust_to_database(self) -> None:
        """Ask the database for its clock, by the middle of the time that its answer takes.

        An answer that takes long counts only for the first time.
        """
        began_at = self.read_counter()
        wall = self._read_database_clock()
        ended_at = self.read_counter()
        is_exact = ended_at - began_at <= _MOST_ANSWER_SECONDS
        if wall is not None and (is_exact or not self._is_measured):
            self._offset, self._is_measured = wall - (began_at + ended_at) / 2, True


class WakeUpCall:
    """How the main thread is woken; also by a signal handler, in which no lock may be taken."""

    def __init__(self) -> None:
        # Unlike Event, it may be used by a handler that interrupts its own method.
        self._calls: SimpleQueue[None] = SimpleQueue()

    def wake(self) -> None:
        self._calls.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until somebody calls, at most so long; all calls until then count as one."""
        with suppress(Empty):
            self._calls.get(timeout=seconds)
            while True:
                self._calls.get_nowait()


class BackgroundTasks:
    """Tasks that are running, by key; the first exception of any of them ends the loop.

    But for those of the types that it survives: what such a task was to do is begun anew.

    The threads are daemons, so that a fetch that hangs does not keep the process from ending.
    """

    def __init__(
        self, wake: Callable[[], None], survived: tuple[type[Exception], ...] = ()
    ) -> None:
        """`wake` is called when a task ends; `survived` are exceptions that end only a task."""
        self._wake = wake
        self._survived = survived
        self._running: dict[tuple[object, ...], object] = {}
        self._changed = Condition()
        self.failure: Exception | None = None
        self.started_count = 0

    def start_task(
        self, key: tuple[object, ...], work: Callable[[], object], subject: object = None
    ) -> bool:
        """Start a task unless one of this key is running, or one failed; whether it was started.

        A key begins with the kind of its task.
        """
        with self._changed:
            # After a failure, such as a full disk, what is done cannot be recorded.
            if key in self._running or self.failure is not None:
                return False
            self._running[key] = subject
            self.started_count += 1
        Thread(target=self._run, args=(key, work), daemon=True, name=str(key)).start()
        return True

    def note_failure_and_wake(self, problem: Exception) -> None:
        """Have the loop end as a task's exception ends it; the first one counts."""
        self.failure = self.failure or problem
        self._wake()

    def list_subjects_of_running(self, kind: str) -> list[object]:
        """The subjects of the running tasks of a kind."""
        with self._changed:
            return [subject for key, subject in self._running.items() if key[0] == kind]

    def count_running(self, kind: str) -> int:
        """How many tasks of a kind are running."""
        return len(self.list_subjects_of_running(kind))

    def wait_for_fewer(self, kind: str, count: int, seconds: float) -> bool:
        """Wait until fewer than `count` tasks of a kind are running, at most so long; if so."""
        with self._changed:
            return self._changed.wait_for(
                lambda: sum(key[0] == kind for key in self._running) < count, seconds
            )

    def is_idle(self) -> bool:
        with self._changed:
            return not self._running

    def wait_until_idle(self, seconds: float, ignored_kind: str = "") -> bool:
        """Wait until no task is running, at most so long; whether none is.

        Tasks of the kind `ignored_kind` count for none.
        """
        with self._changed:
            return self._changed.wait_for(
                lambda: all(key[0] == ignored_kind for key in self._running), seconds
            )

    def _run(self, key: tuple[object, ...], work: Callable[[], object]) -> None:
        try:
            work()
        except self._survived:
            return
        except Exception as problem:  # noqa: BLE001 - raised again by the main thread
            self.failure = self.failure or problem
        finally:
            with self._changed:
                del self._running[key]
                self._changed.notify_all()
            self._wake()
