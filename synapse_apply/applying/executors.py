"""Executors: one piece of work at a time, or a pool of threads."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Self

from synapse_apply.model.ports import Work


class Serial:
    """Does each piece when its result is asked for; tests are single-threaded by injection."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Any, Work]] = deque()

    @property
    def room(self) -> bool:
        return not self._queue

    def submit(self, key: Any, work: Work) -> None:
        self._queue.append((key, work))

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
    """At most `size` pieces at once, on as many threads.

    Two queues, and no future for each piece: who submits ten thousand pieces shares one processor
    with those who do them.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._threads: list[Thread] = []
        self._running = 0
        self._todo: SimpleQueue[tuple[Any, Work] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[Any, Any]] = SimpleQueue()

    @property
    def room(self) -> bool:
        return self._running < self._size

    def submit(self, key: Any, work: Work) -> None:
        self._running += 1
        self._todo.put((key, work))
        if len(self._threads) < min(self._running, self._size):
            thread = Thread(target=self._work, name=f"apply_{len(self._threads)}")
            self._threads.append(thread)
            thread.start()

    def wait(self) -> tuple[Any, Any]:
        ended = self._done.get()
        self._running -= 1
        return ended

    def _work(self) -> None:
        while (piece := self._todo.get()) is not None:
            key, work = piece
            try:
                result = work()
            except BaseException as failure:  # noqa: BLE001 - an exception is a result here
                result = failure
            self._done.put((key, result))

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
