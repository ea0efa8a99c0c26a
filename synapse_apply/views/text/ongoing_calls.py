"""Which calls are in progress, and when a long one is reported again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from synapse_apply.model.address import Address

REPORT_INTERVAL = 10.0


@dataclass
class OngoingCall:
    """A call in progress; `facts` say how far it is, where that is known. Times are in seconds."""

    address: Address
    verb: str
    start_time: float
    next_report_time: float
    facts: Mapping[str, Any] = field(default_factory=dict)


class OngoingCalls:
    """The calls in progress; `report` is called for each every `interval` seconds.

    It is called under the lock, so that no report of a call comes after its end.
    """

    def __init__(
        self,
        report: Callable[[OngoingCall, float], None],
        interval: float = REPORT_INTERVAL,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is reported by itself before `start_reporting`."""
        self._report = report
        self._interval = interval
        self._now = now
        self._calls: dict[Address, OngoingCall] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def start_reporting(self) -> None:
        """Start a daemon thread that reports long calls until `stop_reporting`."""
        threading.Thread(target=self._report_overdue, name="progress", daemon=True).start()

    def stop_reporting(self) -> None:
        """Stop the reports, and forget all calls."""
        self._closed.set()
        with self._lock:
            self._calls.clear()

    def add_call(self, address: Address, verb: str) -> None:
        """Add a call that begins now."""
        now = self._now()
        with self._lock:
            self._calls[address] = OngoingCall(address, verb, now, now + self._interval)

    def replace_facts(self, address: Address, facts: Mapping[str, Any]) -> None:
        """Replace the facts of a call; ignored if it has ended."""
        with self._lock:
            if (call := self._calls.get(address)) is not None:
                call.facts = facts

    def remove_call(self, address: Address) -> None:
        """Remove a call that has ended."""
        with self._lock:
            self._calls.pop(address, None)

    def report_overdue_calls(self) -> None:
        """Report each call for which another interval has passed."""
        now = self._now()
        with self._lock:
            for call in self._calls.values():
                if now >= call.next_report_time:
                    # From now, not from the due time, so that a delay causes no burst of reports.
                    call.next_report_time = now + self._interval
                    self._report(call, now - call.start_time)

    def _report_overdue(self) -> None:
        # Checked each second, since calls begin at different times.
        while not self._closed.wait(min(1.0, self._interval)):
            self.report_overdue_calls()
