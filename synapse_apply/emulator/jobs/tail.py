"""Which server-sent events the tail of a job's log consists of, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from synapse_apply.emulator.core.call import EmulatorRequest
from synapse_apply.emulator.core.store import StoredObject
from synapse_apply.emulator.jobs import models, words

TICK_SECONDS = 0.05  # between two checks of the job
HEARTBEAT_TICKS = 20  # of silence
_MAX_LINES_PER_PIECE = 500  # so that the event loop gets to other requests in between


async def stream_frames(
    request: EmulatorRequest,
    row: StoredObject,
    public_id: Any,
    build_line_data: Callable[[Mapping[str, str]], Any],
) -> AsyncIterator[bytes]:
    """The frames `connected`, `log` for each line, and `complete` once the job has ended.

    `build_line_data` gives the `data` of a line's frame.
    """
    backend, identity = request.backend, row.id
    starts_at_end = backend.switches.has_value("tail", "now")
    # Counted before `connected` is sent: lines written after that frame must be in the tail.
    sent_count = (
        len(models.list_log_lines(row, models.compute_job_moment(row, backend.clock.now())))
        if starts_at_end
        else 0
    )
    yield _encode_frame({"type": "connected", "job_id": public_id})
    silent_ticks = 0
    while True:
        job_row = backend.store.find_by_id("job", identity, request.tenant)
        if job_row is None:
            yield build_error_frame("The job is gone.")
            return
        job_moment = models.compute_job_moment(job_row, backend.clock.now())
        lines = models.list_log_lines(job_row, job_moment, sent_count, _MAX_LINES_PER_PIECE)
        sent_count += len(lines)
        if lines:
            yield b"".join(
                _encode_frame({"type": "log", "data": build_line_data(line)}) for line in lines
            )
        elif job_moment.status in words.ENDED_STATUSES:
            yield _encode_frame({"type": "complete", "message": f"The job is {job_moment.status}."})
            return
        silent_ticks = 0 if lines else silent_ticks + 1
        if silent_ticks >= HEARTBEAT_TICKS:
            silent_ticks = 0
            yield b": heartbeat\n\n"
        # After a piece of lines more of them may be waiting.
        await asyncio.sleep(0 if lines else TICK_SECONDS)


async def stream_error(message: str) -> AsyncIterator[bytes]:
    """A stream of a single `error` frame."""
    yield build_error_frame(message)


def build_error_frame(message: str) -> bytes:
    return _encode_frame({"type": "error", "message": message})


def build_v1_line_data(request: EmulatorRequest, line: Mapping[str, str]) -> Any:
    """The `data` of a line's frame on API v1, by the switches `tail_data` and `console_logs`."""
    if request.has_server_switch_value("tail_data", "nested"):
        return f"data: {json.dumps({'type': 'log', 'message': line['message']})}"
    return models.format_log_line(line, request.backend.switches["console_logs"])


def _encode_frame(value: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()
