"""When cyclic garbage collection is paused, and when a skipped one is made up for."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


class _CollectionDebt:
    """Counts when a full collection is due, since pauses move all objects to the oldest generation.

    Python's own counts, which would lead to one, are reset by freezing.
    """

    def __init__(self) -> None:
        self._created_count = 0
        self._surviving_count = 0

    def add_new_objects(self) -> None:
        """Add the objects that were created since the last call, before they are frozen."""
        first, second, _ = gc.get_threshold()
        young, middle, old = gc.get_count()
        self._created_count += young + first * (middle + second * old)

    def collect_if_due(self) -> None:
        """Collect, but no sooner than Python would, nor before there are twice as many objects."""
        first, second, third = gc.get_threshold()
        threshold = first * max(second, 1) * max(third, 1)  # 0 means that collection is disabled
        if threshold and self._created_count > max(threshold, self._surviving_count):
            gc.collect()
            self._created_count, self._surviving_count = 0, len(gc.get_objects())


_COLLECTION_DEBT = _CollectionDebt()


# A plan makes many small values that all stay, and the cyclic collector would examine them again
# and again. A process that plans repeatedly collects once it has made as many objects as it keeps.
@contextmanager
def pause_gc() -> Iterator[None]:
    """Pause cyclic garbage collection while many small values are created that all stay."""
    was_enabled = gc.isenabled()
    if was_enabled:
        _COLLECTION_DEBT.collect_if_due()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            # Freezing and unfreezing moves all objects to the oldest generation without traversing
            # them.
            owns_freeze = gc.get_freeze_count() == 0
            if owns_freeze:
                _COLLECTION_DEBT.add_new_objects()
                gc.freeze()
            gc.enable()
            if owns_freeze:
                gc.unfreeze()
