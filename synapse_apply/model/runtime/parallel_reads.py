"""Several reads at once, which an interrupt ends."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def open_interruptible_thread_pool(size: int) -> Iterator[ThreadPoolExecutor]:
    """Waited for at the end, unless an interrupt ends it: the client's end wakes them then."""
    pool = ThreadPoolExecutor(size, thread_name_prefix="reads")
    should_wait = False
    try:
        yield pool
        should_wait = True
    except Exception:
        should_wait = True
        raise
    finally:
        pool.shutdown(wait=should_wait, cancel_futures=True)
