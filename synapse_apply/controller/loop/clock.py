"""The clocks and the chance that the loop reads, so that tests can give it others."""

from __future__ import annotations

import random
import secrets
import time
from typing import Protocol


class LoopClock(Protocol):
    """Where the loop takes time and chance from; used by any thread."""

    def read_wall(self) -> float:
        """Seconds since the epoch. It may jump."""
        ...

    def read_counter(self) -> float:
        """Seconds of a clock that only counts."""
        ...

    def draw(self) -> float:
        """A random number from 0 up to 1, excluded."""
        ...

    def draw_bytes(self, count: int) -> bytes: ...


class MachineClock:
    """The clocks of this machine."""

    def read_wall(self) -> float:
        return time.time()

    def read_counter(self) -> float:
        return time.monotonic()

    def draw(self) -> float:
        return random.random()  # noqa: S311 - jitter, nothing secret

    def draw_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)
