"""When cyclic garbage collection rests: while many small values are built that all stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


class _Collector:
    """Whether this process is a command of ours, which may decide how its garbage is collected."""

    is_ours = False


def tune_collector_for_command() -> None:
    """Set up garbage collection for a command, whose process ends before much garbage gathers.

    With Python's own thresholds a large plan spends a fifth of its time on looking through
    values that all stay.
    """
    gc.set_threshold(100_000, 50, 100)
    _Collector.is_ours = True


@contextmanager
def pause_gc() -> Iterator[None]:
    """Pause cyclic garbage collection in the block, where it is enabled at all.

    In a command, what the block has built becomes old at once: else the next collection would walk
    over all of it, a tenth of the time of `validate`. A program that uses the library may have
    frozen objects of its own, and unfreezing would undo that, so there collection only pauses.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if _Collector.is_ours:
            gc.freeze()
            gc.unfreeze()
        gc.enable()
