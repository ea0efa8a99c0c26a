"""Executors: one piece of work at a time, or a pool of threads."""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
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
    """At most `size` pieces at once, on as many threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="apply")
        self._running: dict[Future[Any], Any] = {}
        self._finished: deque[tuple[Any, Any]] = deque()

    @property
    def room(self) -> bool:
        return len(self._running) < self._size

    def submit(self, key: Any, work: Work) -> None:
        self._running[self._pool.submit(work)] = key

    def wait(self) -> tuple[Any, Any]:
        if not self._finished:
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            for future in done:
                failure = future.exception()
                result = failure if failure is not None else future.result()
                self._finished.append((self._running.pop(future), result))
        return self._finished.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        # A run that is cut off waits for nobody: its process ends with whatever is under way.
        ends = _type is None or issubclass(_type, Exception)
        self._pool.shutdown(wait=ends, cancel_futures=True)
