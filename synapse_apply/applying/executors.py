"""Executors: one piece of work at a time, or a pool of threads."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread, get_ident
from time import monotonic
from types import TracebackType
from typing import Any, Self

from synapse_apply.model.ports import Work

# In seconds: while calls take less, a place among them comes free at once.
_BRIEF = 1.0


class Serial:
    """Does each piece when its result is asked for; tests are single-threaded by injection."""

    is_near = False

    def __init__(self) -> None:
        self._queue: deque[tuple[Any, Work]] = deque()

    @property
    def room(self) -> bool:
        return not self._queue

    def submit(self, key: Any, work: Work) -> None:
        self._queue.append((key, work))

    def enter(self) -> bool:
        """One piece at a time: nobody waits for its place."""
        return False

    def leave(self) -> None:
        """Nobody takes it."""

    def wait(self) -> tuple[Any, Any]:
        key, work = self._queue.popleft()
        try:
            return key, work()
        except Exception as failure:  # noqa: BLE001 - an exception is a result here
            return key, failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._queue.clear()


class Threads:
    """`size` pieces may call the backend at once, and as many wait for the state or for a place.

    A call has its place from before it is sent until its answer is there (`enter`, `leave`). What
    comes before and after waits for the disk: pieces share their commits then, and the backend
    always has `size` calls under way.

    Two queues, and no future for each piece: who submits ten thousand pieces shares one processor
    with those who do them.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._threads: list[Thread] = []
        self._unfinished = 0
        self._places = Semaphore(size)
        # The longest of the last calls, in seconds; it fades. Since when others have their places.
        self._long = 0.0
        self._since: dict[int, float] = {}
        self._todo: SimpleQueue[tuple[Any, Work] | None] = SimpleQueue()
        self._ended: SimpleQueue[tuple[Any, Any]] = SimpleQueue()

    @property
    def room(self) -> bool:
        return self._unfinished < 2 * self._size

    @property
    def is_near(self) -> bool:
        oldest = min([*self._since.values()], default=None)
        under_way = 0.0 if oldest is None else monotonic() - oldest
        return max(self._long, under_way) < _BRIEF

    def submit(self, key: Any, work: Work) -> None:
        self._unfinished += 1
        self._todo.put((key, work))
        if len(self._threads) < self._unfinished:
            thread = Thread(target=self._work, name=f"apply_{len(self._threads)}")
            self._threads.append(thread)
            thread.start()

    def wait(self) -> tuple[Any, Any]:
        ended = self._ended.get()
        self._unfinished -= 1
        return ended

    def enter(self) -> bool:
        if get_ident() in self._since:
            return False
        self._places.acquire()
        self._since[get_ident()] = monotonic()
        return True

    def leave(self) -> None:
        since = self._since.pop(get_ident(), None)
        if since is not None:
            self._long = max(monotonic() - since, 0.9 * self._long)
            self._places.release()

    def _work(self) -> None:
        while (piece := self._todo.get()) is not None:
            key, work = piece
            try:
                result = work()
            except BaseException as failure:  # noqa: BLE001 - an exception is a result here
                result = failure
            self.leave()
            self._ended.put((key, result))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """What has begun is waited for, what has not is left; a run that is cut does not wait."""
        with suppress(Empty):
            while True:
                self._todo.get_nowait()
        for _ in self._threads:
            self._todo.put(None)
        if _type is None or issubclass(_type, Exception):
            for thread in self._threads:
                thread.join()
