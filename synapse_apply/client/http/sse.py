"""Server-sent events (WHATWG HTML, 9.2) as they arrive, in constant memory.

Of an event only its data counts here: no server of this API names events, gives ids, or can
resume. Comments are told too, since they are the signs of life of a stream that is silent.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import Any

from synapse_apply.model.coding.server_json import OddJsonError, parse_lenient_json

Event = dict[str, Any]

LOG_EVENT, HEARTBEAT_EVENT = "log", "heartbeat"
MAX_EVENT_LENGTH = 4 * 1024 * 1024  # characters of one event

_LINE_END = re.compile(r"\r\n|\r|\n")


class OversizedEventError(ValueError):
    """An event that does not end: held in memory it would grow without bound."""


def iter_events(blocks: Iterable[bytes]) -> Iterator[Event]:
    """Each event as an object with a `type`; a comment is `{"type": "heartbeat"}`.

    An event that is no JSON object, or has no type, is a line: `{"type": "log", "data": ...}`. One
    that the stream breaks off in is never told. OversizedEventError for one that is too large.
    """
    data: list[str] = []
    size = 0
    for line in _iter_lines(blocks):
        if line.startswith(":"):
            yield {"type": HEARTBEAT_EVENT}
        elif line:
            name, _, value = line.partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
                size += len(value) + 1
                _require_bounded_size(size)
        elif data:
            yield _parse_event("\n".join(data))
            data, size = [], 0


def _parse_event(text: str) -> Event:
    try:
        value = parse_lenient_json(text)
    except OddJsonError:
        value = text
    if isinstance(value, dict) and isinstance(value.get("type"), str):
        return value
    return {"type": LOG_EVENT, "data": value}


def _iter_lines(blocks: Iterable[bytes]) -> Iterator[str]:
    """Lines without their ends, which are LF, CR or CRLF; what follows the last end is dropped."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    partial_line: list[str] = []
    size, after_cr = 0, False
    for block in blocks:
        text = decoder.decode(block)
        if not text:
            continue
        # A CR at the very end of a piece was a whole end of line, or half of a CRLF.
        first, *next_parts = _LINE_END.split(text.removeprefix("\n") if after_cr else text)
        after_cr = text.endswith("\r")
        partial_line.append(first)
        size += len(first)
        _require_bounded_size(size)
        if next_parts:
            yield "".join(partial_line)
            *complete_lines, last = next_parts
            yield from complete_lines
            partial_line, size = [last], len(last)
            _require_bounded_size(size)


def _require_bounded_size(size: int) -> None:
    if size > MAX_EVENT_LENGTH:
        raise OversizedEventError(f"an event has more than {MAX_EVENT_LENGTH} characters")
