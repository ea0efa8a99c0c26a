"""How many calls are under way at one host, as it bears them: fewer after a 429, then more again.

Additive increase, multiplicative decrease, as TCP has it (RFC 5681, 3.1): a 429 halves what may be
under way, and each round of answers without one allows one more.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition

from synapse_apply.client.http.deadlines import Clock

_POLL_SECONDS = 0.25  # seconds between two looks at whether there is any use in waiting


class RequestPacer:
    """The calls of all threads to one host."""

    def __init__(self, max_calls: int, clock: Clock) -> None:
        """`max_calls` may be under way while the host complains of nothing."""
        self._max_calls = float(max(1, max_calls))
        self._clock = clock
        self._condition = Condition()
        self._allowed_calls = self._max_calls
        self._running_calls = 0
        self._rate_limited_at = float("-inf")
        self._paused_until = float("-inf")

    @property
    def allowed_calls(self) -> int:
        """How many calls may be under way now."""
        return int(self._allowed_calls)

    def seconds_until_resume(self) -> float:
        """Seconds until the host wants to hear of anybody again."""
        return max(0.0, self._paused_until - self._clock())

    def acquire_slot(self, should_stop: Callable[[], bool]) -> float:
        """Wait for a place, or until there is no use in it; when that was, for `release_slot`."""
        with self._condition:
            while self._running_calls >= self.allowed_calls and not should_stop():
                self._condition.wait(_POLL_SECONDS)
            self._running_calls += 1
            return self._clock()

    def release_slot(self, acquired_at: float, *, is_answered: bool) -> None:
        """A call has ended; `is_answered`: by something else than a 429 or silence."""
        with self._condition:
            self._running_calls -= 1
            if is_answered and acquired_at > self._rate_limited_at:
                self._allowed_calls = min(
                    self._max_calls, self._allowed_calls + 1 / self._allowed_calls
                )
                self._paused_until = float("-inf")
            self._condition.notify()

    def record_rate_limit(self, acquired_at: float, retry_after: float) -> None:
        """The host answered 429 and asked for `retry_after` seconds. Told before `release_slot`.

        Calls that were under way together are one complaint, however many of them are refused.
        """
        with self._condition:
            now = self._clock()
            if acquired_at > self._rate_limited_at:
                self._allowed_calls = max(1.0, self._allowed_calls / 2)
                self._rate_limited_at = now
            self._paused_until = max(self._paused_until, now + retry_after)
