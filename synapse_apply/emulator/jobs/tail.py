"""The lines of a job as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from synapse_apply.emulator.core.call import Call
from synapse_apply.emulator.core.store import Row
from synapse_apply.emulator.jobs import models, words

TICK_SECONDS = 0.05  # between two looks at the job
HEARTBEAT_TICKS = 20  # of silence
_AT_ONCE = 500  # lines in one piece, so that other requests get their turn


async def frames(
    call: Call, row: Row, public_id: Any, data: Callable[[Mapping[str, str]], Any]
) -> AsyncIterator[bytes]:
    """`connected`, a `log` for each line, and `complete` once the job has ended.

    `data` gives what a frame says of a line.
    """
    backend, identity = call.backend, row.id
    begins_now = backend.switches.is_on("tail", "now")
    # Before a word is said: what is written after `connected` is in the tail.
    sent = len(models.logs(row, models.at(row, backend.clock.now()))) if begins_now else 0
    yield _frame({"type": "connected", "job_id": public_id})
    silent = 0
    while True:
        found = backend.store.get("job", identity, call.tenant)
        if found is None:
            yield error("The job is gone.")
            return
        now = models.at(found, backend.clock.now())
        lines = models.logs(found, now, sent, _AT_ONCE)
        sent += len(lines)
        if lines:
            yield b"".join(_frame({"type": "log", "data": data(line)}) for line in lines)
        elif now.status in words.ENDED:
            yield _frame({"type": "complete", "message": f"The job is {now.status}."})
            return
        silent = 0 if lines else silent + 1
        if silent >= HEARTBEAT_TICKS:
            silent = 0
            yield b": heartbeat\n\n"
        await asyncio.sleep(0 if lines else TICK_SECONDS)


async def only_error(message: str) -> AsyncIterator[bytes]:
    """A stream that says nothing but what is wrong."""
    yield error(message)


def error(message: str) -> bytes:
    return _frame({"type": "error", "message": message})


def data_on_v1(call: Call, line: Mapping[str, str]) -> Any:
    """A line as API v1 tells it, by its switches."""
    if call.has("tail_data", "nested"):
        return f"data: {json.dumps({'type': 'log', 'message': line['message']})}"
    return models.written_line(line, call.backend.switches["console_logs"])


def _frame(value: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()
