"""A rest from the search for circles, which else looks at all that a large run keeps."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


class _Search:
    """When the rests of a process, which make everything old, owe it a search of what is old.

    The interpreter counts towards that search itself, and freezing sets its counts to 0.
    """

    def __init__(self) -> None:
        self._made = 0
        self._kept = 0

    def count(self) -> None:
        """Take down what was made since the last time, before it is frozen."""
        first, second, _ = gc.get_threshold()
        young, middle, old = gc.get_count()
        self._made += young + first * (middle + second * old)

    def if_due(self) -> None:
        """Search no sooner than the interpreter would, nor before there is twice what was kept."""
        first, second, third = gc.get_threshold()
        due = first * max(second, 1) * max(third, 1)  # with a first of 0 it never searches
        if due and self._made > max(due, self._kept):
            gc.collect()
            self._made, self._kept = 0, len(gc.get_objects())


_SEARCH = _Search()


@contextmanager
def unhurried_gc() -> Iterator[None]:
    """No garbage collection while many small values are made that all stay."""
    was_on = gc.isenabled()
    if was_on:
        _SEARCH.if_due()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            # Freezing and thawing makes what was built old without walking over it once more.
            mine = gc.get_freeze_count() == 0
            if mine:
                _SEARCH.count()
                gc.freeze()
            gc.enable()
            if mine:
                gc.unfreeze()
