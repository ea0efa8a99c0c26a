"""Several reads at once, which an interrupt ends."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def threads(size: int) -> Iterator[ThreadPoolExecutor]:
    """Waited for at the end, unless an interrupt ends it: the client's end wakes them then."""
    pool = ThreadPoolExecutor(size, thread_name_prefix="reads")
    waits = False
    try:
        yield pool
        waits = True
    except Exception:
        waits = True
        raise
    finally:
        pool.shutdown(wait=waits, cancel_futures=True)
