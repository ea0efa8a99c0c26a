"""Executors: one piece of work at a time, or a pool of threads."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread, local
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

    def leave(self) -> None:
        """One piece at a time: nobody waits for its place."""

    def wait(self) -> tuple[Any, Any] | None:
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
    """At most `size` pieces at work at once, and as many that are only being noted in the state.

    A piece that waits for its outcome to be durable gives its place to another (`leave`): both
    then share one commit, and the host always has `size` calls under way.

    Two queues, and no future for each piece: who submits ten thousand pieces shares one processor
    with those who do them.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._threads: list[Thread] = []
        self._at_work = 0
        self._unfinished = 0
        self._todo: SimpleQueue[tuple[Any, Work] | None] = SimpleQueue()
        # What a piece tells: that it has left its place, or its key and result.
        self._told: SimpleQueue[tuple[Any, Any] | None] = SimpleQueue()
        self._here = local()

    @property
    def room(self) -> bool:
        return self._at_work < self._size and self._unfinished < 2 * self._size

    def submit(self, key: Any, work: Work) -> None:
        self._at_work += 1
        self._unfinished += 1
        self._todo.put((key, work))
        if len(self._threads) < self._unfinished:
            thread = Thread(target=self._work, name=f"apply_{len(self._threads)}")
            self._threads.append(thread)
            thread.start()

    def wait(self) -> tuple[Any, Any] | None:
        ended = self._told.get()
        if ended is None:
            self._at_work -= 1
        else:
            self._unfinished -= 1
        return ended

    def leave(self) -> None:
        """Told by the piece at work on this thread; a second time is none."""
        if getattr(self._here, "works", False):
            self._here.works = False
            self._told.put(None)

    def _work(self) -> None:
        while (piece := self._todo.get()) is not None:
            key, work = piece
            self._here.works = True
            try:
                result = work()
            except BaseException as failure:  # noqa: BLE001 - an exception is a result here
                result = failure
            self.leave()
            self._told.put((key, result))

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
