"""How one worker is started, asked and ended: a process of its own, with deadline and limits."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from synapse_apply.controller.ports import Permit, RunResult
from synapse_apply.controller.rows import CallProgress, RunOutcome
from synapse_apply.controller.worker import exchange
from synapse_apply.files.programs import PipedProgram
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.frozen import replace
from synapse_apply.model.json_values import WrongShapeError

# A child that has grown so far while it works is killed; one above the second is replaced after.
_MOST_RESIDENT_BYTES = 2 * 1024**3
_REPLACED_ABOVE_BYTES = 384 * 1024**2
_ORDERS_OF_ONE_CHILD = 500
_WATCH_SECONDS = 0.25
_READ_BYTES = 1 << 18
_COMMAND = (sys.executable, "-I", "-m", "synapse_apply.controller.worker")


class _NoAnswer(Exception):
    """A child is ended, with `result`; without one the text is a sentence that says why."""

    def __init__(self, detail: str, result: RunResult | None = None) -> None:
        super().__init__(detail)
        self.result = result


class Child:
    """A worker process of one source. For one look or apply at a time."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment` are all of its variables. OSError if it cannot be started."""
        self._program = PipedProgram(_COMMAND, environment)
        self._order_count = 0
        self._is_usable = True

    @property
    def process_id(self) -> int:
        return self._program.process_id

    @property
    def is_usable(self) -> bool:
        """Whether it may be asked once more: it has not ended, served long enough, or grown."""
        return (
            self._is_usable
            and self._order_count < _ORDERS_OF_ONE_CHILD
            and self._resident_bytes() < _REPLACED_ABOVE_BYTES
        )

    def work_or_kill(self, order: exchange.Order, conversation: Conversation) -> RunResult:
        """Let it look at a target or apply it. Raises nothing: a result says why there is none.

        It is killed, and not usable again, where the conversation ends it, and for an answer of no
        use.
        """
        self._order_count += 1
        # Usable again only once it has answered: whatever ends this early ends the child.
        self._is_usable = False
        try:
            self._send_order_line(exchange.encode_order(order), conversation)
            result = conversation.decode_answer(self._read_answer_line(conversation))
        except _NoAnswer as end:
            return end.result or conversation.result_without_answer(str(end))
        except OSError:
            return conversation.result_without_answer(
                "The worker ended before it received its task."
            )
        except WrongShapeError:
            return conversation.result_without_answer("The worker returned an unreadable answer.")
        else:
            self._is_usable = True
            return result
        finally:
            if not self._is_usable:
                self.kill()

    def kill(self) -> None:
        """End it at once, with all that it has started."""
        self._is_usable = False
        self._program.kill_with_descendants()

    def _send_order_line(self, line: bytes, conversation: Conversation) -> None:
        """OSError where nobody reads it any more; _NoAnswer."""
        rest = memoryview(line)
        while rest:
            self._require_within_limits(conversation)
            if self._can_send_within(_WATCH_SECONDS):
                rest = rest[os.write(self._program.input.fileno(), rest[: select.PIPE_BUF]) :]

    def _can_send_within(self, seconds: float) -> bool:
        """Whether PIPE_BUF bytes can be sent without waiting, within so many seconds."""
        poll = select.poll()
        poll.register(self._program.input.fileno(), select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def _read_answer_line(self, conversation: Conversation) -> bytes:
        """The line that it answers; _NoAnswer, with the result that says why there is none."""
        line, descriptor = bytearray(), self._program.output.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not line.endswith(b"\n"):
            self._require_within_limits(conversation)
            conversation.tell_progress()
            # News are sent unless the child reads nothing now, or has ended.
            if self._can_send_within(0.0) and (news := conversation.take_news_line_or_empty()):
                # One line fits whole, so that it never waits in its middle.
                with suppress(OSError):
                    os.write(self._program.input.fileno(), news[: select.PIPE_BUF])
            if not poll.poll(_WATCH_SECONDS * 1000):
                continue
            block = os.read(descriptor, _READ_BYTES)
            line += block
            if not block:
                raise _NoAnswer("The worker ended before it had answered.")
            if len(line) > exchange.MAX_LINE_BYTES:
                raise _NoAnswer("The worker's answer was too long.")
            while line.startswith(exchange.PROGRESS_START) and b"\n" in line:
                told, _, line = line.partition(b"\n")
                conversation.take_progress(bytes(told))
        return bytes(line)

    def _require_within_limits(self, conversation: Conversation) -> None:
        """_NoAnswer where it has taken too long, or too much memory."""
        if (end := conversation.worker_end()) is not None:
            raise _NoAnswer("", end)
        if self._resident_bytes() > _MOST_RESIDENT_BYTES:
            size = f"{_MOST_RESIDENT_BYTES // 1024**2} MiB"
            raise _NoAnswer(f"The worker used more than {size} of memory.")

    def _resident_bytes(self) -> int:
        """How much memory it has, 0 where the system does not say so in /proc."""
        with suppress(OSError, ValueError, IndexError):
            words = Path(f"/proc/{self.process_id}/statm").read_text(encoding="ascii").split()
            return int(words[1]) * os.sysconf("SC_PAGE_SIZE")
        return 0


# What is said to a worker while it works, how long it may take, and what is told if it gives none.
#
# A look only has a deadline. An apply is told every few seconds how long calls may begin. Where it
# may begin none any more it has time to end what has begun, and is killed only after that: then the
# next run looks up what became of calls that were open.

# A permit lasts 10 s at most, so that four in a row may come late.
_PERMIT_SECONDS = 2.0
# How often others are told what an apply does, and the newest of how many rows.
_TOLD_SECONDS, MAX_TOLD_CALLS = 1.0, 40
# A row begins and ends, some more than once; each line takes time of the controller.
MOST_PROGRESS_LINES = 10 * exchange.MAX_ROWS
# As long as a call may take, but for uploads.
LAST_CALLS_SECONDS = 60.0
_OPEN_CALLS = "The next run looks up the outcome of each open call, and sends nothing twice."
_AGAIN = (
    "The controller retries automatically. If it happens each time, plan the target on the "
    "command line, and check the memory of this machine."
)


class Conversation:
    """One look or apply, from its order to its answer, as seen by who waits for it.

    To a look nothing is said. An apply is told how long calls may begin, or that none may any more.
    """

    def __init__(
        self,
        order: exchange.Order,
        read_permit: Callable[[], Permit] | None = None,
        last_calls: float = LAST_CALLS_SECONDS,
        tell: Callable[[Sequence[CallProgress]], None] | None = None,
    ) -> None:
        """Its time begins now. `last_calls` is how long what has begun may take then, in seconds.

        `read_permit` and `tell` are as in WorkerPool.apply. Where the first raises, the worker
        hears nothing; where the second does, it is called again.
        """
        self._order = order
        self._last_calls = last_calls
        self._deadline = time.monotonic() + order.timeout
        self._read_permit = read_permit
        self._lock = Lock()
        self._stop_reasons: list[str] = []
        self._is_stop_told = False
        self._is_late = False
        self._ends_at: float | None = None
        self._news_at = 0.0
        self._tell = tell
        self._calls: dict[tuple[str, str], CallProgress] = {}
        self._tell_at, self._has_news, self._line_count = 0.0, False, 0

    def stop(self, reason: str, ends_at: float) -> None:
        """Let no call begin any more, and end it at a time of `time.monotonic`; for any thread."""
        with self._lock:
            self._stop_reasons.append(reason)
            self._ends_at = ends_at if self._ends_at is None else min(ends_at, self._ends_at)

    def worker_end(self) -> RunResult | None:
        """The result with which the worker is ended now; None while it is waited for.

        TIMEOUT after the deadline, of an apply APPLY_STOPPED where `stop` was called.
        """
        now = time.monotonic()
        if now >= self._deadline and not self._is_late:
            self._is_late = True
            last_calls = self._last_calls if self._read_permit else 0.0
            self.stop(f"it took longer than {self._order.timeout:g} s", now + last_calls)
        if self._ends_at is None or now < self._ends_at:
            return None
        if self._is_late:
            return RunResult(RunOutcome.TIMEOUT, findings=(self._build_late_finding(),))
        reason = self._stop_reasons[0]
        finding = error_finding(
            "The controller stopped the apply",
            f"The reason was: {reason}. A call had not ended in time. {_OPEN_CALLS}",
        )
        return RunResult(RunOutcome.APPLY_STOPPED, findings=(finding,), stop_reason=reason)

    def take_news_line_or_empty(self) -> bytes:
        """A permit every two seconds, and as soon as it is known that there is none any more."""
        if self._read_permit is None or self._is_stop_told:
            return b""
        now = time.monotonic()
        if not self._stop_reasons and now >= self._news_at:
            self._news_at = now + _PERMIT_SECONDS
            try:
                permit = self._read_permit()
            except Exception:  # noqa: BLE001 - without news the permit ends by itself
                return b""
            if not permit.reason:
                return exchange.encode_permit(permit)
            with self._lock:
                self._stop_reasons.append(permit.reason)
        if not self._stop_reasons:
            return b""
        self._is_stop_told = True
        return exchange.encode_permit(Permit(0.0, self._stop_reasons[0]))

    def take_progress(self, line: bytes) -> None:
        """Remember what an apply does; WrongShapeError for a line that no worker of ours writes."""
        progress = exchange.decode_progress(line)
        self._line_count += 1
        if self._read_permit is None or self._line_count > MOST_PROGRESS_LINES:
            raise WrongShapeError("a check applies nothing, and an apply ends")
        calls = self._calls
        calls[progress.address, progress.action] = progress
        if len(calls) > MAX_TOLD_CALLS:
            ended = (one for one, call in calls.items() if call.result)
            del calls[next(ended, next(iter(calls)))]
        self._has_news = True

    def tell_progress(self) -> None:
        """Tell others what the apply does, unless they were told within the last second."""
        now = time.monotonic()
        if self._tell is None or not self._has_news or now < self._tell_at:
            return
        self._tell_at = now + _TOLD_SECONDS
        with suppress(Exception):
            self._tell(tuple(self._calls.values()))
            self._has_news = False

    def decode_answer(self, line: bytes) -> RunResult:
        """The result that a line says; WrongShapeError for one that no worker of ours writes.

        An apply that was cut short by its deadline has outcome TIMEOUT.
        """
        result = exchange.decode_result(line, self._order.terms)
        if not (self._is_late and result.outcome is RunOutcome.APPLY_STOPPED):
            return result
        findings = (self._build_late_finding(), *result.findings)
        return replace(result, outcome=RunOutcome.TIMEOUT, findings=findings)

    def result_without_answer(self, detail: str) -> RunResult:
        """The result where there is no answer; `detail` is a sentence that says why."""
        if self._read_permit is None:
            return lost_look(detail)
        # Whoever closes the workers kills it at the same moment as its own time ends.
        if (end := self.worker_end()) is not None:
            return end
        finding = error_finding("The apply ended early", f"{detail} {_OPEN_CALLS}", _AGAIN)
        return RunResult(RunOutcome.WORKER_LOST, findings=(finding,))

    def _build_late_finding(self) -> Diagnostic:
        late = f"It had not ended after {self._order.timeout:g} s,"
        if self._read_permit is None:
            return error_finding(
                "The check took too long",
                f"{late} so the controller ended it. It wrote nothing.",
                "Check that the backend is reachable and answers. The controller's `timeout` is "
                "the limit.",
            )
        return error_finding(
            "The apply took too long",
            f"{late} so the controller began no further call. {_OPEN_CALLS}",
            "The controller continues automatically. The controller's `timeout` is the limit.",
        )


def lost_look(detail: str) -> RunResult:
    """The result of a look that gave none; `detail` is a sentence that says why."""
    finding = error_finding("The check ended early", f"{detail} It wrote nothing.", _AGAIN)
    return RunResult(RunOutcome.WORKER_LOST, findings=(finding,))


def apply_not_begun(reason: str) -> RunResult:
    """The result of an apply that no worker was asked for; `reason` is a phrase."""
    return RunResult(RunOutcome.APPLY_STOPPED, stop_reason=reason)
