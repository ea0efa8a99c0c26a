"""How work runs beside the main thread: a daemon thread a task, at most one a key."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Condition, Thread


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
        self._running: dict[Hashable, object] = {}
        self._changed = Condition()
        self.failure: Exception | None = None
        self.started_count = 0

    def start_task(self, key: Hashable, work: Callable[[], None], subject: object = None) -> bool:
        """Start a task unless one of this key is running, or one failed; whether it was started."""
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

    def count_running(self, kind: str) -> int:
        """How many tasks are running whose key is a tuple that begins with `kind`."""
        with self._changed:
            return self._count_unlocked(kind)

    def _count_unlocked(self, kind: str) -> int:
        return sum(isinstance(key, tuple) and key[0] == kind for key in self._running)

    def wait_for_fewer(self, kind: str, count: int, seconds: float) -> bool:
        """Wait until fewer than `count` tasks of a kind are running, at most so long; if so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count_unlocked(kind) < count, seconds)

    def list_subjects_of_running(self, kind: str) -> list[object]:
        """The subjects of the running tasks of a kind."""
        with self._changed:
            return [
                subject
                for key, subject in self._running.items()
                if isinstance(key, tuple) and key[0] == kind
            ]

    def is_idle(self) -> bool:
        with self._changed:
            return not self._running

    def wait_and_tell_if_idle(self, seconds: float, ignored_kind: str = "") -> bool:
        """Wait until no task is running, at most so long; whether none is.

        Tasks of the kind `ignored_kind` count for none.
        """

        def is_idle() -> bool:
            return all(isinstance(key, tuple) and key[0] == ignored_kind for key in self._running)

        with self._changed:
            return self._changed.wait_for(is_idle, seconds)

    def _run(self, key: Hashable, work: Callable[[], None]) -> None:
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
