"""How many calls are under way at one host, as it bears them: fewer after a 429, then more again.

Additive increase, multiplicative decrease, as TCP has it (RFC 5681, 3.1): a 429 halves what may be
under way, and each round of answers without one allows one more.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition

from synapse_apply.client.deadlines import Clock

_SLICE = 0.25  # seconds between two looks at whether there is any use in waiting


class Pace:
    """The calls of all threads to one host."""

    def __init__(self, most: int, clock: Clock) -> None:
        """`most` may be under way while the host complains of nothing."""
        self._most = float(max(1, most))
        self._clock = clock
        self._changed = Condition()
        self._allowed = self._most
        self._running = 0
        self._limited_at = float("-inf")
        self._quiet_until = float("-inf")

    @property
    def allowed(self) -> int:
        """How many calls may be under way now."""
        return int(self._allowed)

    def delay(self) -> float:
        """Seconds until the host wants to hear of anybody again."""
        return max(0.0, self._quiet_until - self._clock())

    def enter(self, is_over: Callable[[], bool]) -> float:
        """Wait for a place, or until there is no use in it; when that was, for `leave`."""
        with self._changed:
            while self._running >= self.allowed and not is_over():
                self._changed.wait(_SLICE)
            self._running += 1
            return self._clock()

    def leave(self, entered: float, *, answered: bool) -> None:
        """A call has ended; `answered`: by something else than a 429 or silence."""
        with self._changed:
            self._running -= 1
            if answered and entered > self._limited_at:
                self._allowed = min(self._most, self._allowed + 1 / self._allowed)
                self._quiet_until = float("-inf")
            self._changed.notify()

    def limited(self, entered: float, asked: float) -> None:
        """The host answered 429 and asked for `asked` seconds. Told before `leave`.

        Calls that were under way together are one complaint, however many of them are refused.
        """
        with self._changed:
            now = self._clock()
            if entered > self._limited_at:
                self._allowed = max(1.0, self._allowed / 2)
                self._limited_at = now
            self._quiet_until = max(self._quiet_until, now + asked)
