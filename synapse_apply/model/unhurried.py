"""A rest from the search for circles, which else looks at all that a large run keeps."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unhurried_gc() -> Iterator[None]:
    """No garbage collection while many small values are made that all stay."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            # Freezing and thawing makes what was built old without walking over it once more.
            mine = gc.get_freeze_count() == 0
            if mine:
                gc.freeze()
            gc.enable()
            if mine:
                gc.unfreeze()
