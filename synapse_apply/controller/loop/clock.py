"""The clocks and the chance that the loop reads, so that tests can give it others."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from typing import Protocol


class LoopClock(Protocol):
    """Where the loop takes time and chance from; used by any thread."""

    def read_wall(self) -> float:
        """Seconds since the epoch. It may jump."""
        ...

    def read_counter(self) -> float:
        """Seconds of a clock that only counts."""
        ...

    def draw_fraction(self) -> float:
        """A random number from 0 up to 1, excluded."""
        ...

    def draw_random_bytes(self, count: int) -> bytes: ...


class MachineClock:
    """The clocks of this machine."""

    def read_wall(self) -> float:
        return time.time()

    def read_counter(self) -> float:
        return time.monotonic()

    def draw_fraction(self) -> float:
        return random.random()  # noqa: S311 - jitter, nothing secret

    def draw_random_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)


# By half of it a clock that is measured may be wrong.
_MOST_ANSWER_SECONDS = 0.5


class SharedClock:
    """The clocks of this machine, but for the wall clock, which is that of a database.

    So all processes that share the database share a clock, however wrong those of their machines
    are.
    """

    def __init__(self, clock: LoopClock, read_database_clock: Callable[[], float | None]) -> None:
        """Asks the database; what that raises is raised. Of None, the machine's clock is used."""
        self._clock = clock
        self._read_database_clock = read_database_clock
        self._offset = clock.read_wall() - clock.read_counter()
        self._is_measured = False
        self.adjust_to_database()

    def adjust_to_database(self) -> None:
        """Ask the database for its clock, by the middle of the time that its answer takes.

        An answer that takes long counts only for the first time.
        """
        began_at = self._clock.read_counter()
        wall = self._read_database_clock()
        ended_at = self._clock.read_counter()
        is_exact = ended_at - began_at <= _MOST_ANSWER_SECONDS
        if wall is not None and (is_exact or not self._is_measured):
            self._offset, self._is_measured = wall - (began_at + ended_at) / 2, True

    def read_wall(self) -> float:
        return self._clock.read_counter() + self._offset

    def read_counter(self) -> float:
        return self._clock.read_counter()

    def draw_fraction(self) -> float:
        return self._clock.draw_fraction()

    def draw_random_bytes(self, count: int) -> bytes:
        return self._clock.draw_random_bytes(count)


class CorrectedClock:
    """A clock whose wall time moves with the counter, and jumps only by `move_wall_time_by`.

    So a due time that is computed and written within one transaction of the store was computed
    either before the jump, and is shifted with the others, or after it, and needs no shift.
    """

    def __init__(self, clock: LoopClock) -> None:
        self._clock = clock
        self._offset = clock.read_wall() - clock.read_counter()

    def read_wall(self) -> float:
        return self._clock.read_counter() + self._offset

    def read_counter(self) -> float:
        return self._clock.read_counter()

    def measure_ahead(self) -> float:
        """By how many seconds the machine's wall clock is ahead of `read_wall`."""
        return self._clock.read_wall() - self.read_wall()

    def move_wall_time_by(self, seconds: float) -> None:
        """Let `read_wall` jump; called by one thread alone."""
        self._offset += seconds

    def draw_fraction(self) -> float:
        return self._clock.draw_fraction()

    def draw_random_bytes(self, count: int) -> bytes:
        return self._clock.draw_random_bytes(count)
