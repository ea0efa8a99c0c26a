"""What is said to a worker while it works, how long it may take, and what is told if it gives none.

A look only has a deadline. An apply is told every few seconds how long calls may begin. Where it
may begin none any more it has time to end what has begun, and is killed only after that: then the
next run looks up what became of calls that were open.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import Protocol

from synapse_apply.controller.ports import Permit, RunResult
from synapse_apply.controller.rows import RunOutcome
from synapse_apply.controller.worker.exchange import (
    ApplyOrder,
    decode_apply_result,
    decode_look_result,
    encode_permit,
)
from synapse_apply.model.diagnostic import Diagnostic, error_finding

# A permit lasts 10 s at most, so that four in a row may come late.
_PERMIT_SECONDS = 2.0
# As long as a call may take, but for uploads.
LAST_CALLS_SECONDS = 60.0
_OPEN_CALLS = (
    "What became of a call that was open then is looked up by the next run, which sends nothing "
    "twice."
)
_AGAIN = (
    "It is tried again by itself. If it happens each time, plan the target on the command line, "
    "and see the memory of this machine."
)


class Conversation(Protocol):
    """One look or apply, from its order to its answer, as seen by who waits for it."""

    def worker_end(self) -> RunResult | None:
        """The result with which the worker is ended now; None while it is waited for."""
        ...

    def take_news_line_or_empty(self) -> bytes:
        """A line that is to be sent now, b"" for none."""
        ...

    def decode_answer(self, line: bytes) -> RunResult:
        """The result that a line says; WrongShapeError for one that no worker of ours writes."""
        ...

    def result_without_answer(self, detail: str) -> RunResult:
        """The result where there is no answer; `detail` is a sentence that says why."""
        ...


class LookConversation:
    """A look: nothing is said to it, and at its deadline it is ended."""

    def __init__(self, timeout: float) -> None:
        """`timeout` is in seconds from now on."""
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout

    def worker_end(self) -> RunResult | None:
        """A result of outcome TIMEOUT after the deadline."""
        if time.monotonic() < self._deadline:
            return None
        finding = error_finding(
            "The look took too long",
            f"It had not ended after {self._timeout:g} s, and was ended. Nothing was written by "
            "it.",
            "Is the backend reachable, and does it answer? `timeout` of the controller is the "
            "limit.",
        )
        return RunResult(RunOutcome.TIMEOUT, findings=(finding,))

    def take_news_line_or_empty(self) -> bytes:
        """Never any."""
        return b""

    def decode_answer(self, line: bytes) -> RunResult:
        """See Conversation."""
        return decode_look_result(line)

    def result_without_answer(self, detail: str) -> RunResult:
        """See Conversation."""
        return lost_look(detail)


class ApplyConversation:
    """An apply: it is told how long calls may begin, or that none may any more, and why."""

    def __init__(
        self,
        order: ApplyOrder,
        timeout: float,
        read_permit: Callable[[], Permit],
        last_calls: float,
    ) -> None:
        """`timeout` is in seconds from now on, `last_calls` how long what has begun may take then.

        `read_permit` is as in Workers.apply; where it raises, the worker hears nothing.
        """
        self._order = order
        self._timeout, self._last_calls = timeout, last_calls
        self._deadline = time.monotonic() + timeout
        self._read_permit = read_permit
        self._lock = Lock()
        self._stop_reasons: list[str] = []
        self._is_stop_told = False
        self._is_late = False
        self._ends_at: float | None = None
        self._news_at = 0.0

    def stop(self, reason: str, ends_at: float) -> None:
        """Let no call begin any more, and end it at a time of `time.monotonic`; for any thread."""
        with self._lock:
            self._stop_reasons.append(reason)
            self._ends_at = ends_at if self._ends_at is None else min(ends_at, self._ends_at)

    def worker_end(self) -> RunResult | None:
        """A result of outcome TIMEOUT, or APPLY_STOPPED where `stop` was called."""
        now = time.monotonic()
        if now >= self._deadline and not self._is_late:
            self._is_late = True
            self.stop(f"it took longer than {self._timeout:g} s", now + self._last_calls)
        if self._ends_at is None or now < self._ends_at:
            return None
        if self._is_late:
            return RunResult(RunOutcome.TIMEOUT, findings=(self._build_late_finding(),))
        reason = self._stop_reasons[0]
        finding = error_finding(
            "The apply was ended",
            f"It was to stop ({reason}), and a call had not ended in time. {_OPEN_CALLS}",
        )
        return RunResult(RunOutcome.APPLY_STOPPED, findings=(finding,), stop_reason=reason)

    def take_news_line_or_empty(self) -> bytes:
        """A permit every two seconds, and as soon as it is known that there is none any more."""
        if self._is_stop_told:
            return b""
        now = time.monotonic()
        if not self._stop_reasons and now >= self._news_at:
            self._news_at = now + _PERMIT_SECONDS
            try:
                permit = self._read_permit()
            except Exception:  # noqa: BLE001 - without news the permit ends by itself
                return b""
            if not permit.reason:
                return encode_permit(permit)
            with self._lock:
                self._stop_reasons.append(permit.reason)
        if not self._stop_reasons:
            return b""
        self._is_stop_told = True
        return encode_permit(Permit(0.0, self._stop_reasons[0]))

    def decode_answer(self, line: bytes) -> RunResult:
        """See Conversation; an apply that was cut short by its deadline has outcome TIMEOUT."""
        result = decode_apply_result(line, self._order)
        if not (self._is_late and result.outcome is RunOutcome.APPLY_STOPPED):
            return result
        findings = (self._build_late_finding(), *result.findings)
        return replace(result, outcome=RunOutcome.TIMEOUT, findings=findings)

    def result_without_answer(self, detail: str) -> RunResult:
        """See Conversation."""
        # Whoever closes the workers kills it at the same moment as its own time ends.
        if (end := self.worker_end()) is not None:
            return end
        finding = error_finding("The apply was cut short", f"{detail} {_OPEN_CALLS}", _AGAIN)
        return RunResult(RunOutcome.WORKER_LOST, findings=(finding,))

    def _build_late_finding(self) -> Diagnostic:
        return error_finding(
            "The apply took too long",
            f"It had not ended after {self._timeout:g} s, so that no further call was begun. "
            f"{_OPEN_CALLS}",
            "It goes on by itself. `timeout` of the controller is the limit.",
        )


def lost_look(detail: str) -> RunResult:
    """The result of a look that gave none; `detail` is a sentence that says why."""
    finding = error_finding(
        "The look was cut short", f"{detail} Nothing was written by it.", _AGAIN
    )
    return RunResult(RunOutcome.WORKER_LOST, findings=(finding,))


def apply_not_begun(reason: str) -> RunResult:
    """The result of an apply that no worker was asked for; `reason` is a phrase."""
    return RunResult(RunOutcome.APPLY_STOPPED, stop_reason=reason)
