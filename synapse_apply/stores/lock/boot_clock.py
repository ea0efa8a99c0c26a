"""A clock that counts from the boot of the machine, through its suspensions too."""

from __future__ import annotations

import time


def read_boottime() -> float:
    """Seconds that also pass while the machine is suspended, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
