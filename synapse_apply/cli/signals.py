"""Ctrl-C and SIGTERM during an apply: the first one lets what has begun end, the second stops."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from synapse_apply.model.address import Address
from synapse_apply.model.errors import Exit
from synapse_apply.model.job import Job
from synapse_apply.views.progress import Display

_ASKS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """The number of the signal that asked to end, 0 while there is none; a context manager.

    It is also the apply's progress: it passes all on to a display and remembers what is under
    way, so that a second signal can name what nobody knows the outcome of.
    """

    def __init__(self, display: Display) -> None:
        """Signals are taken over in `with`, and given back after it."""
        self._display = display
        self._under_way: dict[Address, str] = {}
        self._before: dict[int, Any] = {}
        self.signal = 0

    def __call__(self) -> int:
        return self.signal

    def __enter__(self) -> Self:
        for number in _ASKS:
            with suppress(ValueError, OSError):  # not the main thread: nobody sends it signals
                self._before[number] = signal.signal(number, self._heard)
        self._display.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._display.__exit__(kind, error, at)
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

    def finished(self, address: Address, verb: str, result: str, seconds: float) -> None:
        """A resource's calls have ended."""
        self._under_way.pop(address, None)
        self._display.finished(address, verb, result, seconds)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if self.signal:
            self._leave(number)
        self.signal = number
        _write("\nStopping: what has begun ends first. Once more stops at once.\n")

    def _leave(self, number: int) -> None:
        """No more waiting; intents are on disk already, and the next run looks them up."""
        names = ", ".join(sorted(str(address) for address in list(self._under_way)))
        told = f" Outcome unknown: {names}." if names else ""
        _write(f"\nStopped at once.{told} The next run looks up what was under way.\n")
        stopped = Exit.SIGINT if number == signal.SIGINT else Exit.SIGTERM
        os._exit(Exit.worst(stopped, *([Exit.UNKNOWN] if names else [])))


def _write(text: str) -> None:
    """Past every buffer: a signal may come in the midst of a write."""
    with suppress(OSError):
        os.write(2, text.encode())
