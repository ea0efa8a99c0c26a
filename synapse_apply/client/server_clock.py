"""What the server's clock shows, learnt from the Date of answers that were asked for anyway."""

from __future__ import annotations

from threading import Lock

from synapse_apply.client.events import RequestEvent
from synapse_apply.model.skew import Skew

# An HTTP date has whole seconds (RFC 9110, 5.6.7): the rest is cut off.
_CUT_OFF = 1.0


class ServerClock:
    """Hears of every request of a run, on any thread, and narrows down how the clocks differ.

    The server wrote the date at some moment between the request's beginning and its end, so each
    answer gives a span; what all of them allow is the skew.
    """

    def __init__(self) -> None:
        self._skew: Skew | None = None
        self._lock = Lock()

    @property
    def skew(self) -> Skew | None:
        """None while no answer had a date."""
        return self._skew

    def heard(self, event: RequestEvent) -> None:
        """Take an attempt's answer into account."""
        if event.server_date is None:
            return
        ended_at = event.begun_at + event.seconds
        found = Skew(event.server_date - ended_at, event.server_date + _CUT_OFF - event.begun_at)
        with self._lock:
            both = found if self._skew is None else _common(self._skew, found)
            # Nothing in common: one of the clocks was set meanwhile, and now counts.
            self._skew = both if both.low <= both.high else found


def _common(one: Skew, other: Skew) -> Skew:
    return Skew(max(one.low, other.low), min(one.high, other.high))
