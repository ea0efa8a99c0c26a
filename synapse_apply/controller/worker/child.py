"""How one worker is started, asked and ended: a process of its own, with deadline and limits."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.worker.conversations import Conversation
from synapse_apply.controller.worker.exchange import MAX_LINE_BYTES, Order, encode_order
from synapse_apply.files.programs import PipedProgram
from synapse_apply.model.coding.json_values import WrongShapeError

# A child that has grown so far while it works is killed; one above the second is replaced after.
_MOST_RESIDENT_BYTES = 2 * 1024**3
_REPLACED_ABOVE_BYTES = 384 * 1024**2
_ORDERS_OF_ONE_CHILD = 500
_WATCH_SECONDS = 0.25
_READ_BYTES = 1 << 18
_COMMAND = (sys.executable, "-I", "-m", "synapse_apply.controller.worker")


class _NoAnswer(Exception):
    """A child is ended; `result` says why there is no answer."""

    def __init__(self, result: RunResult) -> None:
        super().__init__()
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

    def work_or_kill(self, order: Order, conversation: Conversation) -> RunResult:
        """Let it look at a target or apply it. Raises nothing: a result says why there is none.

        It is killed, and not usable again, where the conversation ends it, and for an answer of no
        use.
        """
        self._order_count += 1
        # Usable again only once it has answered: whatever ends this early ends the child.
        self._is_usable = False
        try:
            self._send_order_line(encode_order(order), conversation)
            result = conversation.decode_answer(self._read_answer_line(conversation))
        except _NoAnswer as end:
            return end.result
        except OSError:
            return conversation.result_without_answer("The worker had ended before it was asked.")
        except WrongShapeError:
            return conversation.result_without_answer("The worker gave no answer that can be read.")
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

    def _send_news(self, conversation: Conversation) -> None:
        """Send what there is to say, unless the child reads nothing now, or has ended."""
        if self._can_send_within(0.0) and (line := conversation.take_news_line_or_empty()):
            # One line fits whole, so that it never waits in its middle.
            with suppress(OSError):
                os.write(self._program.input.fileno(), line[: select.PIPE_BUF])

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
            self._send_news(conversation)
            if not poll.poll(_WATCH_SECONDS * 1000):
                continue
            block = os.read(descriptor, _READ_BYTES)
            line += block
            if not block:
                raise _NoAnswer(
                    conversation.result_without_answer("The worker ended in its middle.")
                )
            if len(line) > MAX_LINE_BYTES:
                raise _NoAnswer(
                    conversation.result_without_answer("The worker's answer was too long.")
                )
        return bytes(line)

    def _require_within_limits(self, conversation: Conversation) -> None:
        """_NoAnswer where it has taken too long, or too much memory."""
        if (end := conversation.worker_end()) is not None:
            raise _NoAnswer(end)
        if self._resident_bytes() > _MOST_RESIDENT_BYTES:
            size = f"{_MOST_RESIDENT_BYTES // 1024**2} MiB"
            raise _NoAnswer(
                conversation.result_without_answer(f"The worker took more than {size}.")
            )

    def _resident_bytes(self) -> int:
        """How much memory it has, 0 where the system does not say so in /proc."""
        with suppress(OSError, ValueError, IndexError):
            words = Path(f"/proc/{self.process_id}/statm").read_text(encoding="ascii").split()
            return int(words[1]) * os.sysconf("SC_PAGE_SIZE")
        return 0
