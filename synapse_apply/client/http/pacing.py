"""How many calls may run at the same time against one host, and when to pause after a 429.

Additive increase, multiplicative decrease, as in TCP (RFC 5681, 3.1): a 429 halves the number of
calls, and each round of answers without one adds one.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition

from synapse_apply.client.http.deadlines import Clock

# When a call got its slot, by the pacer's clock; see `release_slot`.
AcquisitionTime = float

_POLL_SECONDS = 0.25  # between two checks of `should_stop`


# Additive increase, multiplicative decrease, shared by all kinds. A 429 costs time, not one of the
# call's repeats.
class RequestPacer:
    """Limits the calls of all threads to one host."""

    def __init__(self, max_calls: int, clock: Clock) -> None:
        """`max_calls` is the limit while the host answers no 429."""
        self._max_calls = float(max(1, max_calls))
        self._clock = clock
        self._condition = Condition()
        self._allowed_calls = self._max_calls
        self._running_calls = 0
        self._rate_limited_at = float("-inf")
        self._paused_until = float("-inf")

    @property
    def allowed_calls(self) -> int:
        """How many calls may run at the same time now."""
        return int(self._allowed_calls)

    def pause_left(self) -> float:
        """Seconds until the pause that a Retry-After asked for is over; 0 without one."""
        return max(0.0, self._paused_until - self._clock())

    def take_slot(self, should_stop: Callable[[], bool]) -> AcquisitionTime:
        """Wait for a free slot or until `should_stop`; returns the clock's time for its release.

        A slot is taken in both cases, so that each call must release it.
        """
        with self._condition:
            while self._running_calls >= self.allowed_calls and not should_stop():
                self._condition.wait(_POLL_SECONDS)
            self._running_calls += 1
            return self._clock()

    def release_slot(self, acquired_at: AcquisitionTime, *, is_answered: bool) -> None:
        """Give the slot back; `is_answered`, without a sign of overload, raises the limit."""
        with self._condition:
            self._running_calls -= 1
            # Calls that began before the last 429 say nothing about the lower limit.
            if is_answered and acquired_at > self._rate_limited_at:
                self._allowed_calls = min(
                    self._max_calls, self._allowed_calls + 1 / self._allowed_calls
                )
                self._paused_until = float("-inf")
            self._condition.notify()

    def slow_down(self, acquired_at: AcquisitionTime, retry_after: float) -> None:
        """Lower the limit after a 429 and pause `retry_after` seconds. Call before the release.

        Several 429s of calls that ran at the same time lower the limit once.
        """
        with self._condition:
            now = self._clock()
            if acquired_at > self._rate_limited_at:
                self._allowed_calls = max(1.0, self._allowed_calls / 2)
                self._rate_limited_at = now
            self._paused_until = max(self._paused_until, now + retry_after)
