"""How long a write to a slow store waits, so that others share its batch and its host is spared."""

from __future__ import annotations

import time
from collections.abc import Callable

from synapse_apply.model.frozen import frozen
from synapse_apply.model.ports import ignore_wait

# Seconds between two looks at whether to wait on: far below what one write of a slow store takes.
_LOOK_SECONDS = 0.005


@frozen
class WritePace:
    """How often a store may be written to; durations in seconds.

    While calls are busy with what was announced, a write waits up to `longest_deferral` for others.
    After the first `burst` writes there is at least `interval` between two, whatever waits; a burst
    of 0 knows no such limit. The default is that of a database: no wait at all.
    """

    longest_deferral: float = 0.0
    burst: int = 0
    interval: float = 0.0


class WritePacer:
    """Keeps the writes of one process to a `WritePace`. One thread at a time waits for its turn."""

    def __init__(
        self,
        pace: WritePace,
        monotonic: Callable[[], float] = time.monotonic,
        sleep_for: Callable[[float], None] = time.sleep,
    ) -> None:
        """The clock and the pause are replaced by tests."""
        self._pace = pace
        self._monotonic = monotonic
        self._sleep_for = sleep_for
        self._write_count = 0
        self._last_write_at = 0.0
        # How long all turns waited for the interval, for the report of a run.
        self.waited_seconds = 0.0

    def wait_for_turn(
        self, may_defer: Callable[[], bool], report_wait: Callable[[float], None] = ignore_wait
    ) -> None:
        """Return when the next write may begin; `may_defer` is asked again and again.

        `report_wait` gets the seconds of a wait for the interval when it begins, and 0 at its end.
        """
        started_at = self._monotonic()
        deferred_until = started_at + self._pace.longest_deferral
        while self._monotonic() < deferred_until and may_defer():
            self._sleep_for(_LOOK_SECONDS)
        if self._pace.burst and self._write_count >= self._pace.burst:
            remaining_seconds = self._last_write_at + self._pace.interval - self._monotonic()
            if remaining_seconds > 0:
                self.waited_seconds += remaining_seconds
                report_wait(remaining_seconds)
                try:
                    self._sleep_for(remaining_seconds)
                finally:
                    report_wait(0.0)

    def count_write(self) -> None:
        """Note that a write begins now, also one that waited for no turn, such as a heartbeat."""
        self._write_count += 1
        self._last_write_at = self._monotonic()
