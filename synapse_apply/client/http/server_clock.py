"""What the server's clock shows, learnt from the Date of answers that were asked for anyway."""

from __future__ import annotations

from threading import Lock

from synapse_apply.client.events import RequestEvent
from synapse_apply.model.remote.clock_skew import ClockSkew

# An HTTP date has whole seconds (RFC 9110, 5.6.7): the rest is cut off.
_DATE_RESOLUTION = 1.0


class ServerClock:
    """Hears of every request of a run, on any thread, and narrows down how the clocks differ.

    The server wrote the date at some moment between the request's beginning and its end, so each
    answer gives a span; what all of them allow is the skew.
    """

    def __init__(self) -> None:
        self._skew: ClockSkew | None = None
        self._lock = Lock()

    @property
    def skew(self) -> ClockSkew | None:
        """None while no answer had a date."""
        return self._skew

    def record_event(self, event: RequestEvent) -> None:
        """Take an attempt's answer into account."""
        if event.server_date is None:
            return
        ended_at = event.started_at + event.seconds
        answer_skew = ClockSkew(
            event.server_date - ended_at, event.server_date + _DATE_RESOLUTION - event.started_at
        )
        with self._lock:
            common_skew = (
                answer_skew if self._skew is None else _intersect_skews(self._skew, answer_skew)
            )
            # Nothing in common: one of the clocks was set meanwhile, and now counts.
            self._skew = common_skew if common_skew.low <= common_skew.high else answer_skew


def _intersect_skews(first: ClockSkew, second: ClockSkew) -> ClockSkew:
    return ClockSkew(max(first.low, second.low), min(first.high, second.high))
