"""Ctrl-C and SIGTERM during an apply: the first one lets what has begun end, the second stops.

Where nobody is there for a second one, as in CI, what has begun gets some seconds to end: a
runner kills what outlives its signals by a little, and then there would be no report.
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
from synapse_apply.views.progress import Display

_ASKS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Wrappers pass on what the terminal sends to all: two signals so close, in seconds, are one.
_ECHO = 0.1


class Cut(BaseException):
    """Nobody wants to wait any more: raised in the main thread by a second signal."""


class Stop:
    """The number of the signal that asked to end, 0 while there is none; a context manager.

    It is also the apply's progress: it passes all on to a display and remembers what is under
    way, so that a second signal can name what nobody knows the outcome of.
    """

    def __init__(
        self,
        display: Display,
        seconds: float = 0.0,
        hang_up: Callable[[str], None] = lambda _why: None,
    ) -> None:
        """Signals are taken over in `with`, and given back after it.

        `hang_up` is called so many `seconds` after the first one, unless all has ended by then;
        never with 0.
        """
        self._display = display
        self._seconds = seconds
        self._hang_up = hang_up
        self._under_way: dict[Address, str] = {}
        self._before: dict[int, Any] = {}
        self._heard_at = 0.0
        self._may_cut = False
        self._is_over = False
        self.signal = 0
        self.cut = False

    def __call__(self) -> int:
        return self.signal

    def until_cut(self, work: Callable[[], None]) -> None:
        """Do work; a second signal ends it where it is, and there is still time for a report."""
        try:
            self._may_cut = True
            work()
        except Cut:
            self.cut = True
        finally:
            self._may_cut, self._is_over = False, True

    def __enter__(self) -> Self:
        for number in _ASKS:
            with suppress(ValueError, OSError):  # not the main thread: nobody sends it signals
                self._before[number] = signal.signal(number, self._heard)
        with suppress(ValueError, OSError):
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._out_of_time)
        self._display.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._display.__exit__(kind, error, at)
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, before in self._before.items():
            # Once asked to end, nothing may cut the report short that tells what was done.
            signal.signal(number, signal.SIG_IGN if self.signal else before)

    def started(self, address: Address, verb: str) -> None:
        """A resource's calls begin."""
        self._under_way[address] = verb
        self._display.started(address, verb)

    def sent(self, address: Address, done: int, total: int) -> None:
        """Bytes of an upload."""
        self._display.sent(address, done, total)

    def looked(self, address: Address, job: Job) -> None:
        """A look at a job: which one it is is recorded, so nothing of it is in doubt."""
        self._under_way.pop(address, None)
        self._display.looked(address, job)

    def finished(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """A resource's calls have ended."""
        self._under_way.pop(address, None)
        self._display.finished(address, verb, result, seconds, remote_id)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal:
            if now - self._heard_at > _ECHO:
                self._hurry(number)
            return
        self.signal, self._heard_at = number, now
        within = f" within {self._seconds:g} s" if self._seconds else " first"
        _write(f"\nStopping: what has begun ends{within}. Once more stops at once.\n")
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def _out_of_time(self, _number: int, _frame: FrameType | None) -> None:
        """Answers that are still to come are given up; the report says which."""
        self._hang_up("the run was stopped")

    def _hurry(self, number: int) -> None:
        """No more waiting; intents are on disk already, and the next run looks them up."""
        if self._is_over:  # nothing is waited for, and the report is on its way
            return
        if self._may_cut:
            self._may_cut = False
            names = ", ".join(sorted(str(address) for address in list(self._under_way)))
            told = f" Outcome unknown: {names}." if names else ""
            _write(f"\nStopped at once.{told} The next run looks up what was under way.\n")
            raise Cut
        _write("\nStopped at once. Nothing was sent.\n")
        os._exit(Exit.SIGINT if number == signal.SIGINT else Exit.SIGTERM)


def leave(code: int) -> NoReturn:
    """End the process now, whatever its threads still wait for."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _write(text: str) -> None:
    """Past every buffer: a signal may come in the midst of a write."""
    with suppress(OSError):
        os.write(2, text.encode())
