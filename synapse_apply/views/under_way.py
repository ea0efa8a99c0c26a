"""Which calls go on at present, and when one that takes long is reported again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from synapse_apply.model.address import Address

INTERVAL = 10.0


@dataclass
class Call:
    """A call that goes on; `facts` say how far it is, where that is known."""

    address: Address
    verb: str
    began: float
    due: float
    facts: Mapping[str, Any] = field(default_factory=dict)


class UnderWay:
    """The calls that go on; `report` gets each that has gone on for another `interval` seconds.

    `report` is called while the list is held, so that no report of a call comes after its end.
    """

    def __init__(
        self,
        report: Callable[[Call, float], None],
        interval: float = INTERVAL,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is reported by itself before `open`."""
        self._report = report
        self._interval = interval
        self._now = now
        self._calls: dict[Address, Call] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def open(self) -> None:
        """Report from a thread that ends with the process or with `close`."""
        threading.Thread(target=self._watch, name="progress", daemon=True).start()

    def close(self) -> None:
        """Report nothing any more, also of calls whose end nobody waits for."""
        self._closed.set()
        with self._lock:
            self._calls.clear()

    def start(self, address: Address, verb: str) -> None:
        """A call begins."""
        now = self._now()
        with self._lock:
            self._calls[address] = Call(address, verb, now, now + self._interval)

    def describe(self, address: Address, facts: Mapping[str, Any]) -> None:
        """Note how far a call is."""
        with self._lock:
            if (call := self._calls.get(address)) is not None:
                call.facts = facts

    def end(self, address: Address) -> None:
        """A call has ended."""
        with self._lock:
            self._calls.pop(address, None)

    def report_due(self) -> None:
        """Report each call that has gone on for another interval."""
        now = self._now()
        with self._lock:
            for call in self._calls.values():
                if now >= call.due:
                    call.due = now + self._interval
                    self._report(call, now - call.began)

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._interval)):
            self.report_due()
