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
from synapse_apply.controller.worker.relayed_permit import RelayedPermit
from synapse_apply.model.coding.json_values import WrongShapeError

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
                self._take_order_or_permit(decode_order_or_permit(line))
        self._permit.end()
        self._orders.put(None)
        with self._lock:
            if not self._is_applying:
                os._exit(0)
        time.sleep(_LAST_CALLS_SECONDS)
        os._exit(0)

    def _take_order_or_permit(self, message: Order | Permit) -> None:
        if isinstance(message, Permit):
            self._permit.take_permit(message)
            return
        with self._lock:
            self._is_applying = message.apply is not None
        # In this thread: a permit that follows its order is never forgotten.
        self._permit.reset()
        self._orders.put(message)


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
