"""What comes to a worker on standard input while it works: orders, permits, and its end.

The end of standard input says that the controller is gone, also by kill -9. A look ends with it at
once. An apply begins no further call; what has begun ends and is recorded.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from synapse_apply.controller.ports import Permit
from synapse_apply.controller.worker.exchange import MAX_LINE_BYTES, Order, decode_order_or_permit
from synapse_apply.model.json_values import WrongShapeError

# A call has a deadline of its own, a minute for most: what lasts longer is looked up by the next
# run, as after a kill.
_LAST_CALLS_SECONDS = 60.0
_READ_BYTES = 1 << 16


class IncomingLines:
    """Reads standard input in a thread of its own."""

    def __init__(self, permit: RelayedPermit) -> None:
        """`permit` is told what an apply may do. Reads nothing yet."""
        self._permit = permit
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._is_applying = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read_to_end, daemon=True).start()

    def iter_orders(self) -> Iterator[Order]:
        """The orders, one after the other, until standard input ends."""
        while (order := self._orders.get()) is not None:
            yield order

    def note_apply_end(self) -> None:
        """Note that no call is open any more: the end of standard input ends this process now."""
        with self._lock:
            self._is_applying = False

    def _read_to_end(self) -> None:
        with suppress(WrongShapeError):
            for line in _input_lines():
                message = decode_order_or_permit(line)
                if isinstance(message, Permit):
                    self._permit.take_permit(message)
                    continue
                with self._lock:
                    self._is_applying = message.terms is not None
                # In this thread: a permit that follows its order is never forgotten.
                self._permit.reset()
                self._orders.put(message)
        self._permit.end()
        self._orders.put(None)
        with self._lock:
            if not self._is_applying:
                os._exit(0)
        time.sleep(_LAST_CALLS_SECONDS)
        os._exit(0)


def _input_lines() -> Iterator[bytes]:
    """Lines of standard input; one that has no end is none.

    Read without a buffer of Python's, whose lock a daemon thread would hold at the end.
    """
    rest = bytearray()
    while block := os.read(0, _READ_BYTES):
        rest += block
        *lines, last = rest.split(b"\n") if b"\n" in block else [rest]
        yield from map(bytes, lines)
        rest = bytearray(last)
        if len(rest) > MAX_LINE_BYTES:
            return


# Whether the apply of a worker may begin another call, by what the controller sent last.
#
# A permit that passes without news is waited for a while: the controller may be slow, or this
# process was stopped and has not read yet what was sent meanwhile. No call begins during the wait.

# As long as a permit lasts: a controller that sends none for twice that time does not work.
_MOST_WAIT_SECONDS = 10.0
# A machine that sleeps counts on no other clock; where there is none, it does not sleep.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def read_permit_clocks() -> tuple[float, float]:
    """Seconds by the clock of permits, and by one that goes on while the machine sleeps."""
    return time.monotonic(), time.clock_gettime(_BOOT_CLOCK)


class RelayedPermit:
    """The permit of one apply after the other, as the CallPermit port; for many threads."""

    def __init__(self, most_wait: float = _MOST_WAIT_SECONDS) -> None:
        """`most_wait` is how many seconds a permit that has passed is waited for."""
        self._most_wait = most_wait
        self._changed = threading.Condition()
        self._until = self._until_since_boot = 0.0
        self._final_reason = ""

    def reset(self) -> None:
        """Forget what an earlier apply was permitted; there is no permit until one comes."""
        with self._changed:
            self._until, self._final_reason = 0.0, ""
            self._changed.notify_all()

    def take_permit(self, permit: Permit) -> None:
        """Take a permit, or that there is none: then there is none any more for this apply."""
        now, now_since_boot = read_permit_clocks()
        with self._changed:
            self._final_reason = self._final_reason or permit.reason
            self._until = permit.until
            self._until_since_boot = now_since_boot + permit.until - now
            self._changed.notify_all()

    def end(self) -> None:
        """Note that the controller has ended: nothing is permitted from now on."""
        self.take_permit(Permit(0.0, "the controller has ended"))

    def explain_missing_or_empty(self) -> str:
        """Why no call may begin, as a phrase; "" while one may. May wait for news before."""
        waits_until: float | None = None
        with self._changed:
            while not self._final_reason:
                now, now_since_boot = read_permit_clocks()
                if now < self._until and now_since_boot < self._until_since_boot:
                    return ""
                waits_until = now + self._most_wait if waits_until is None else waits_until
                if now >= waits_until:
                    self._final_reason = f"the controller was silent for {self._most_wait:g} s"
                    break
                self._changed.wait(waits_until - now)
            return self._final_reason
