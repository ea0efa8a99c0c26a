"""The clock that also counts while the machine is suspended."""

from __future__ import annotations

import time


def read_seconds_since_boot() -> float:
    """Seconds since boot, including suspensions where the system has CLOCK_BOOTTIME (Linux)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
