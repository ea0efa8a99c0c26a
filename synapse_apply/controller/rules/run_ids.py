"""The ids of runs and messages: UUIDs that are sorted by time (RFC 9562, version 7)."""

from __future__ import annotations

from threading import Lock
from uuid import UUID

RANDOM_BYTES = 10


class RunIdSource:
    """Gives out ids that only grow: in one millisecond, and after the clock was set back."""

    def __init__(self) -> None:
        self._milliseconds = 0
        self._lock = Lock()

    def begin_after(self, newest: str) -> None:
        """Give out only ids that are greater than this one; "" is smaller than all."""
        with self._lock:
            if newest:
                self._milliseconds = max(self._milliseconds, UUID(newest).int >> 80)

    def make_id(self, now: float, randomness: bytes) -> str:
        """The next id, at a wall-clock time in seconds."""
        with self._lock:
            self._milliseconds = max(int(now * 1000), self._milliseconds + 1)
            random_number = int.from_bytes(randomness[:RANDOM_BYTES])
            high, low = random_number >> 62 & 0xFFF, random_number & (1 << 62) - 1
            number = (
                (self._milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | high << 64 | 2 << 62 | low
            )
            return str(UUID(int=number))
