"""What Ctrl-C and SIGTERM do during an apply: the first lets calls end, the second stops.

Where nobody can send a second one, as in CI, calls in progress get a few seconds: a runner
soon kills a process that outlives its signal, and then there would be no report.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from synapse_apply.model.address import Address
from synapse_apply.model.errors import Exit
from synapse_apply.model.job import Job
from synapse_apply.views.text.progress import Display

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Wrappers pass on what the terminal sends to all: two signals so close, in seconds, are one.
_ECHO_SECONDS = 0.1


class SecondSignal(BaseException):
    """Raised in the main thread by a second signal: stop waiting."""


class StoppableProgress:
    """The progress of an apply that a signal asks to end; takes over the signals in `with`.

    Every report is passed on to the display. The resources whose calls are under way are
    remembered: a second signal names them as those of which the outcome is unknown.
    """

    def __init__(
        self,
        display: Display,
        seconds: float = 0.0,
        hang_up: Callable[[str], None] = lambda _why: None,
    ) -> None:
        """Signal handlers are installed on entering the context and restored on leaving it.

        `hang_up` is called `seconds` after the first signal, unless everything has ended by then;
        never with 0.
        """
        self._display = display
        self._seconds = seconds
        self._hang_up = hang_up
        self._ongoing_verbs: dict[Address, str] = {}
        self._old_handlers: dict[int, Any] = {}
        self._signal_at = 0.0
        self._can_cut = False
        self._is_over = False
        self.signal_number = 0
        self.was_cut = False

    def read_stop_signal(self) -> int:
        """The number of the signal that asks to end, 0 while there is none."""
        return self.signal_number

    def run_calls(self, work: Callable[[], None]) -> None:
        """Run `work`; a second signal ends it at once, and sets `was_cut`: nothing is raised."""
        try:
            self._can_cut = True
            work()
        except SecondSignal:
            self.was_cut = True
        finally:
            self._can_cut, self._is_over = False, True

    def __enter__(self) -> Self:
        for number in _STOP_SIGNALS:
            with suppress(ValueError, OSError):  # not the main thread: nobody sends it signals
                self._old_handlers[number] = signal.signal(number, self._handle_stop_signal)
        with suppress(ValueError, OSError):
            self._old_handlers[signal.SIGALRM] = signal.signal(
                signal.SIGALRM, self._handle_drain_timeout
            )
        self._display.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._display.__exit__(kind, error, traceback)
        if self._old_handlers:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, old_handler in self._old_handlers.items():
            # Once asked to end, nothing may cut the report short that tells what was done.
            signal.signal(number, signal.SIG_IGN if self.signal_number else old_handler)

    def report_start(self, address: Address, verb: str) -> None:
        """A resource's calls begin."""
        self._ongoing_verbs[address] = verb
        self._display.report_start(address, verb)

    def report_upload(self, address: Address, sent_bytes: int, total_bytes: int) -> None:
        """Bytes of an upload were sent."""
        self._display.report_upload(address, sent_bytes, total_bytes)

    def report_wait(self, seconds: float, location: str) -> None:
        """Writes of the state wait for its pace."""
        self._display.report_wait(seconds, location)

    def report_job(self, address: Address, job: Job) -> None:
        """A job was read. Its id is recorded then, so its run is no longer of unknown outcome."""
        self._ongoing_verbs.pop(address, None)
        self._display.report_job(address, job)

    def report_end(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """A resource's calls have ended."""
        self._ongoing_verbs.pop(address, None)
        self._display.report_end(address, verb, result, seconds, remote_id)

    def _handle_stop_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal_number:
            if now - self._signal_at > _ECHO_SECONDS:
                self._handle_second_signal(number)
            return
        self.signal_number, self._signal_at = number, now
        deadline_text = f" within {self._seconds:g} s" if self._seconds else " first"
        _write_to_stderr(
            f"\nStopping: what has begun ends{deadline_text}. A second signal stops at once.\n"
        )
        # With 0 seconds this sets no timer.
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def _handle_drain_timeout(self, _number: int, _frame: FrameType | None) -> None:
        """Close all connections: calls in progress end as unknown, and the report says which."""
        self._hang_up("the run was stopped")

    def _handle_second_signal(self, number: int) -> None:
        """Stop waiting; intents are on disk already, and the next run looks them up."""
        if self._is_over:  # nothing is waited for, and the report is on its way
            return
        if self._can_cut:
            self._can_cut = False
            names = ", ".join(sorted(str(address) for address in list(self._ongoing_verbs)))
            unknown_text = f" Outcome unknown: {names}." if names else ""
            _write_to_stderr(
                f"\nStopped at once.{unknown_text} The next run looks up what was under way.\n"
            )
            raise SecondSignal
        _write_to_stderr("\nStopped at once. Nothing was sent.\n")
        os._exit(Exit.SIGINT if number == signal.SIGINT else Exit.SIGTERM)


def exit_immediately(code: int) -> NoReturn:
    """End the process now, even while its threads still wait."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _write_to_stderr(text: str) -> None:
    """Write without buffering, because a signal may arrive during a write."""
    with suppress(OSError):
        os.write(2, text.encode())
