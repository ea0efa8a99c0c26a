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


class RelayedPermit:
    """The permit of one apply after the other, as the CallPermit port; for many threads."""

    def __init__(self, most_wait: float = _MOST_WAIT_SECONDS) -> None:
        """`most_wait` is how many seconds a permit that has passed is waited for."""
        self._most_wait = most_wait
        self._changed = threading.Condition()
        self._until = 0.0
        self._final_reason = ""

    def reset(self) -> None:
        """Forget what an earlier apply was permitted; there is no permit until one comes."""
        with self._changed:
            self._until, self._final_reason = 0.0, ""
            self._changed.notify_all()

    def renew(self, permit: Permit) -> None:
        """Take a permit, or that there is none: then there is none any more for this apply."""
        with self._changed:
            if permit.reason and not self._final_reason:
                self._final_reason = permit.reason
            self._until = permit.until
            self._changed.notify_all()

    def end(self) -> None:
        """Note that the controller has ended: nothing is permitted from now on."""
        with self._changed:
            self._final_reason = self._final_reason or "the controller has ended"
            self._changed.notify_all()

    def explain_missing_or_empty(self) -> str:
        """Why no call may begin, as a phrase; "" while one may. May wait for news before."""
        waits_until: float | None = None
        with self._changed:
            while not self._final_reason:
                now = time.monotonic()
                if now < self._until:
                    return ""
                waits_until = now + self._most_wait if waits_until is None else waits_until
                if now >= waits_until:
                    self._final_reason = f"the controller was silent for {self._most_wait:g} s"
                    break
                self._changed.wait(waits_until - now)
            return self._final_reason
