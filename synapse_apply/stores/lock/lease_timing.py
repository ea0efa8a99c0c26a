"""How long the lease of a lock lasts, and the times that depend on the speed of a store."""

from __future__ import annotations

import time
from collections.abc import Callable

from synapse_apply.model.frozen import frozen
from synapse_apply.stores.lock.boot_clock import read_seconds_since_boot


@frozen
class LeaseTiming:
    """Durations of a lease, in seconds, and the clocks.

    A waiting process retries after `shortest_pause`, then up to `longest_pause`. It observes the
    owner by the monotonic clock: while it was suspended itself, it did not observe. The owner
    measures its own silence by the boot-time clock: while suspended, it did not renew.

    A call is sent at most `seconds_to_start` after its intent's time; a later run counts the age
    of the call from then. It has room for a slow write of that intent.
    """

    lease_seconds: float = 30.0
    heartbeat_seconds: float = 10.0
    seconds_to_start: float = 5.0
    shortest_pause: float = 0.05
    longest_pause: float = 1.0
    monotonic: Callable[[], float] = time.monotonic
    boottime: Callable[[], float] = read_seconds_since_boot
    sleep_for: Callable[[float], None] = time.sleep
