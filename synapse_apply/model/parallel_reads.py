"""How reads run in parallel so that an interrupt does not wait for them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def open_thread_pool(size: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool for reads, waited for at the end unless a KeyboardInterrupt ends the block.

    After one, the threads end when the client closes its connections.
    """
    pool = ThreadPoolExecutor(size, thread_name_prefix="reads")
    # A KeyboardInterrupt is no Exception, so it skips both assignments below.
    should_wait = False
    try:
        yield pool
        should_wait = True
    except Exception:
        should_wait = True
        raise
    finally:
        pool.shutdown(wait=should_wait, cancel_futures=True)
