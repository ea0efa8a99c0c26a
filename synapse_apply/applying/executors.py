"""How pieces of work run: one at a time, or in threads with a limit of concurrent calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread, get_ident
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias

# In seconds. While calls take less than this, a slot becomes free soon.
_BRIEF_CALL_SECONDS = 1.0

# So many pieces at most, each with a thread: after a kill the next run looks up each of them.
_MOST_PIECES = 256


Work = Callable[[], Any]


class WorkResult(NamedTuple):
    """What a piece of work returned, or the exception that it raised."""

    key: Any
    result_or_exception: Any


class SerialExecutor:
    """Runs each piece when its result is asked for, so that tests are single-threaded."""

    is_available_soon = False
    holds_slot = False
    has_backlog = False

    def __init__(self) -> None:
        self._queue: deque[tuple[Any, Work]] = deque()

    @property
    def has_room(self) -> bool:
        return not self._queue

    def submit(self, key: Any, work: Work) -> None:
        self._queue.append((key, work))

    def acquire_slot_unless_held(self) -> bool:
        """No slot is needed, as there is one piece at a time."""
        return False

    def release_slot(self) -> None:
        """Nothing to release."""

    def wait_for_result(self) -> WorkResult:
        key, work = self._queue.popleft()
        try:
            return WorkResult(key, work())
        except Exception as failure:  # noqa: BLE001 - an exception is a result here
            return WorkResult(key, failure)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._queue.clear()


# A slot is for calls, not for the disk: it is held from before a call is sent until its answer is
# there; announcing and recording happen outside of it. At most as many pieces wait as there are
# slots, so up to twice as many intents may be open. Only a create whose outcome a search can tell
# for certain is announced before it has its slot, and only while calls are brief: what waits when a
# run is killed is then looked up, not left unknown.
class ThreadedExecutor:
    """At most `size` pieces call the backend at once; as many again wait for the state or a slot.

    A call holds its slot from before it is sent until its answer is there
    (`acquire_slot_unless_held`, `release_slot`). Before and after, pieces wait for the disk: they
    share commits then, and the backend always has `size` calls in progress.

    Two queues in place of a future for each piece, since submitting ten thousand pieces competes
    for the processor with the threads that run them.
    """

    def __init__(self, size: int, ahead_seconds: float = 0.0) -> None:
        """With `ahead_seconds` more pieces wait for a slot: as many as get one within that time."""
        self._size = size
        self._ahead_seconds = ahead_seconds
        self._threads: list[Thread] = []
        self._unfinished = 0
        self._slots = Semaphore(size)
        # The longest recent call in seconds, decaying; and since when each thread holds a slot.
        self._longest_recent_call = 0.0
        # One for each thread that waits for a slot.
        self._waiting: list[int] = []
        self._slot_taken_at: dict[int, float] = {}
        self._pending_work: SimpleQueue[tuple[Any, Work] | None] = SimpleQueue()
        self._finished_work: SimpleQueue[WorkResult] = SimpleQueue()

    @property
    def has_room(self) -> bool:
        """Whether another piece can be submitted now."""
        return self._unfinished < self._compute_piece_limit()

    def _compute_piece_limit(self) -> int:
        # As many pieces again as there are slots, so that a slot never waits for the disk.
        fewest = 2 * self._size
        if not self._ahead_seconds or not self._longest_recent_call:
            return fewest
        # By the longest call, as what gets its slot too late is announced anew.
        in_time = int(self._size * self._ahead_seconds / self._longest_recent_call)
        return min(max(fewest, in_time), max(fewest, _MOST_PIECES))

    @property
    def is_available_soon(self) -> bool:
        """Whether a slot will be free soon, since no long calls are in progress."""
        # A copy, as other threads change the map meanwhile.
        oldest = min([*self._slot_taken_at.values()], default=None)
        under_way = 0.0 if oldest is None else monotonic() - oldest
        return max(self._longest_recent_call, under_way) < _BRIEF_CALL_SECONDS

    @property
    def holds_slot(self) -> bool:
        return get_ident() in self._slot_taken_at

    @property
    def has_backlog(self) -> bool:
        # Two calls a slot: the second one goes on while a write of a slow store is under way.
        return len(self._waiting) >= 2 * self._size

    def submit(self, key: Any, work: Work) -> None:
        self._unfinished += 1
        self._pending_work.put((key, work))
        if len(self._threads) < self._unfinished:
            thread = Thread(target=self._run_worker, name=f"apply_{len(self._threads)}")
            self._threads.append(thread)
            thread.start()

    def wait_for_result(self) -> WorkResult:
        """Wait for the next piece to end, in any order; raises nothing that a piece raised."""
        finished = self._finished_work.get()
        self._unfinished -= 1
        return finished

    def acquire_slot_unless_held(self) -> bool:
        """Wait for a slot; False if this thread needs none, or has one until `release_slot`."""
        # A thread holds at most one slot, and may ask for it again.
        thread = get_ident()
        if thread in self._slot_taken_at:
            return False
        self._waiting.append(thread)
        try:
            self._slots.acquire()
        finally:
            self._waiting.remove(thread)
        self._slot_taken_at[thread] = monotonic()
        return True

    def release_slot(self) -> None:
        """Give the slot back before the work ends, so that another piece can make its call."""
        taken_at = self._slot_taken_at.pop(get_ident(), None)
        if taken_at is not None:
            self._longest_recent_call = max(monotonic() - taken_at, 0.9 * self._longest_recent_call)
            self._slots.release()

    def _run_worker(self) -> None:
        while (piece := self._pending_work.get()) is not None:
            key, work = piece
            try:
                result = work()
            # A worker that ended with an exception would leave the main thread waiting for ever.
            except BaseException as failure:  # noqa: BLE001 - an exception is a result here
                result = failure
            self.release_slot()
            self._finished_work.put(WorkResult(key, result))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Drop pieces that have not begun, and wait for the rest unless interrupted."""
        with suppress(Empty):
            while True:
                self._pending_work.get_nowait()
        for _ in self._threads:
            self._pending_work.put(None)
        # After Ctrl-C the process ends with calls open, which the next run looks up.
        if _type is None or issubclass(_type, Exception):
            for thread in self._threads:
                thread.join()


Executor: TypeAlias = SerialExecutor | ThreadedExecutor
