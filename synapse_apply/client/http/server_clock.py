"""How far the server's clock is from ours, from the Date headers of answers to other calls."""

from __future__ import annotations

from threading import Lock

from synapse_apply.client.events import RequestEvent
from synapse_apply.model.remote import ClockSkew

# Seconds. An HTTP date is truncated to whole seconds (RFC 9110, 5.6.7).
_DATE_RESOLUTION = 1.0


# Each answer's `Date`, with when its request began and ended, gives a span; all spans together give
# the skew, without a request of its own. More than `settle_after` (5 s at least) stops an apply:
# the age of a lost create is told by the clocks of the machines that share a state. The lease is no
# measure, because it is kept by clocks that only count.
class ServerClock:
    """Narrows down the clock skew with each request event, on any thread.

    The server wrote its Date at some moment between start and end of the request, so that each
    answer bounds the skew from both sides; the skew is the intersection of these ranges.
    """

    def __init__(self) -> None:
        self._skew: ClockSkew | None = None
        self._lock = Lock()

    @property
    def skew(self) -> ClockSkew | None:
        """The possible range of the skew; None until an answer has a date."""
        return self._skew

    def narrow_skew(self, event: RequestEvent) -> None:
        """Narrow the skew by the date of one attempt's answer."""
        if event.server_date is None:
            return
        ended_at = event.started_at + event.seconds
        answer_skew = ClockSkew(
            event.server_date - ended_at, event.server_date + _DATE_RESOLUTION - event.started_at
        )
        with self._lock:
            common_skew = answer_skew if self._skew is None else _intersect(self._skew, answer_skew)
            # No common range: one of the clocks was set meanwhile, so that only the new one counts.
            self._skew = common_skew if common_skew.low <= common_skew.high else answer_skew


def _intersect(first: ClockSkew, second: ClockSkew) -> ClockSkew:
    return ClockSkew(max(first.low, second.low), min(first.high, second.high))
