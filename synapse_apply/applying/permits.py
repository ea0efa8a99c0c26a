"""When no further call may begin because who asked for the apply no longer permits it."""

from __future__ import annotations

from threading import Lock

from synapse_apply.model.ports import CallPermit


class FinalPermit:
    """A CallPermit whose first reason stays: after it nothing begins any more.

    Without a permit every call may begin. For any thread.
    """

    def __init__(self, permit: CallPermit | None = None) -> None:
        """`permit` is asked until it gives a reason, and never again."""
        self._permit = permit
        self._mutex = Lock()
        # Why no call may begin any more, as it was told; "" before.
        self.final_reason = ""

    def explain_missing_or_empty(self) -> str:
        """Why no call may begin, as a phrase; "" while calls may. Waits as long as the permit."""
        reason = self.final_reason
        if self._permit is None or reason:
            return reason
        try:
            reason = self._permit.explain_missing_or_empty()
        # Of one that cannot be read nobody knows whether it still holds.
        except Exception as failure:  # noqa: BLE001 - whatever it raises
            reason = f"the permit to go on could not be read ({type(failure).__name__})"
        with self._mutex:
            # Another thread may have had a reason meanwhile: that one stays.
            self.final_reason = self.final_reason or reason
            return self.final_reason
