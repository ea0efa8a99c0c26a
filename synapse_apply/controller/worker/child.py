"""How one worker is started, asked and ended: a process of its own, with deadline and limits."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import RunOutcome
from synapse_apply.controller.worker.exchange import (
    MAX_LINE_BYTES,
    LookOrder,
    decode_result,
    encode_order,
)
from synapse_apply.files.programs import PipedProgram
from synapse_apply.model.coding.json_values import WrongShapeError
from synapse_apply.model.diagnostic import error_finding

# A child that has grown so far while it looks is killed; one above the second is replaced after.
_MOST_RESIDENT_BYTES = 2 * 1024**3
_REPLACED_ABOVE_BYTES = 384 * 1024**2
_LOOKS_OF_ONE_CHILD = 500
_WATCH_SECONDS = 0.5
_READ_BYTES = 1 << 18
_COMMAND = (sys.executable, "-I", "-m", "synapse_apply.controller.worker")


class Child:
    """A worker process of one source. For one look at a time."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment` are all of its variables. OSError if it cannot be started."""
        self._program = PipedProgram(_COMMAND, environment)
        self._look_count = 0
        self._is_usable = True

    @property
    def process_id(self) -> int:
        return self._program.process_id

    @property
    def is_usable(self) -> bool:
        """Whether it may be asked once more, or has ended, served long enough, or grown."""
        return (
            self._is_usable
            and self._look_count < _LOOKS_OF_ONE_CHILD
            and self._read_resident_bytes() < _REPLACED_ABOVE_BYTES
        )

    def look_or_kill(self, order: LookOrder, timeout: float) -> RunResult:
        """Let it look at a target. Raises nothing: a result says why there is none.

        It is killed, and not usable again, after `timeout` seconds or an answer of no use.
        """
        self._look_count += 1
        # Usable again only once it has answered: whatever ends this early ends the child.
        self._is_usable = False
        deadline = time.monotonic() + timeout
        try:
            self._program.input.write(encode_order(order))
            self._program.input.flush()
            line, stop_result = self._read_line(deadline, timeout)
            if stop_result is not None:
                return stop_result
            result = decode_result(line)
        except (OSError, WrongShapeError) as problem:
            reason = "it gave no answer that can be read"
            if isinstance(problem, OSError):
                reason = "it had ended before it was asked"
            return _build_lost_result(f"The worker was ended: {reason}.")
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

    def _read_line(self, deadline: float, timeout: float) -> tuple[bytes, RunResult | None]:
        """The line that it answers, or the result that says why there is none."""
        line, descriptor = bytearray(), self._program.output.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not line.endswith(b"\n"):
            seconds_left = deadline - time.monotonic()
            if seconds_left <= 0:
                return b"", _build_timeout_result(timeout)
            if self._read_resident_bytes() > _MOST_RESIDENT_BYTES:
                size = f"{_MOST_RESIDENT_BYTES // 1024**2} MiB"
                return b"", _build_lost_result(f"The worker was ended: it took more than {size}.")
            if not poll.poll(min(seconds_left, _WATCH_SECONDS) * 1000):
                continue
            block = os.read(descriptor, _READ_BYTES)
            line += block
            if not block:
                return b"", _build_lost_result("The worker ended in the middle of its look.")
            if len(line) > MAX_LINE_BYTES:
                return b"", _build_lost_result("The worker was ended: its answer was too long.")
        return bytes(line), None

    def _read_resident_bytes(self) -> int:
        """How much memory it has, 0 where the system does not say so in /proc."""
        with suppress(OSError, ValueError, IndexError):
            words = Path(f"/proc/{self.process_id}/statm").read_text(encoding="ascii").split()
            return int(words[1]) * os.sysconf("SC_PAGE_SIZE")
        return 0


def _build_timeout_result(timeout: float) -> RunResult:
    finding = error_finding(
        "The look took too long",
        f"It had not ended after {timeout:g} s, and was ended. Nothing was written by it.",
        "Is the backend reachable, and does it answer? `timeout` of the controller is the limit.",
    )
    return RunResult(RunOutcome.TIMEOUT, findings=(finding,))


def _build_lost_result(detail: str) -> RunResult:
    finding = error_finding(
        "The look was cut short",
        f"{detail} Nothing was written by it.",
        "It is tried again by itself. If it happens each time, plan the target on the command "
        "line, and see the memory of this machine.",
    )
    return RunResult(RunOutcome.WORKER_LOST, findings=(finding,))


def build_not_started_result(reason: str) -> RunResult:
    """The result where no worker could be started; `reason` is a phrase."""
    return _build_lost_result(f"No worker could be started: {reason}.")
