"""Whether the apply of a worker may begin another call, by what the controller sent last.

A permit that passes without news is waited for a while: the controller may be slow, or this process
was stopped and has not read yet what was sent meanwhile. No call begins during the wait.
"""

from __future__ import annotations

import threading
import time

from synapse_apply.controller.ports import Permit

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
