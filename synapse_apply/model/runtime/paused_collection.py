"""A rest from the search for circles, which else looks at all that a large run keeps."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


class _CollectionDebt:
    """When the rests of a process, which make everything old, owe it a search of what is old.

    The interpreter counts towards that search itself, and freezing sets its counts to 0.
    """

    def __init__(self) -> None:
        self._created_count = 0
        self._surviving_count = 0

    def add_new_objects(self) -> None:
        """Take down what was made since the last time, before it is frozen."""
        first, second, _ = gc.get_threshold()
        young, middle, old = gc.get_count()
        self._created_count += young + first * (middle + second * old)

    def collect_if_due(self) -> None:
        """Search no sooner than the interpreter would, nor before there is twice what was kept."""
        first, second, third = gc.get_threshold()
        threshold = first * max(second, 1) * max(third, 1)  # with a first of 0 it never searches
        if threshold and self._created_count > max(threshold, self._surviving_count):
            gc.collect()
            self._created_count, self._surviving_count = 0, len(gc.get_objects())


_COLLECTION_DEBT = _CollectionDebt()


# A plan makes many small values that all stay, and the cyclic collector would examine them again
# and again. A process that plans repeatedly collects once it has made as many objects as it keeps.
@contextmanager
def pause_gc() -> Iterator[None]:
    """No garbage collection while many small values are made that all stay."""
    was_enabled = gc.isenabled()
    if was_enabled:
        _COLLECTION_DEBT.collect_if_due()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            # Freezing and thawing makes what was built old without walking over it once more.
            owns_freeze = gc.get_freeze_count() == 0
            if owns_freeze:
                _COLLECTION_DEBT.add_new_objects()
                gc.freeze()
            gc.enable()
            if owns_freeze:
                gc.unfreeze()
