"""How a stream of server-sent events (WHATWG HTML, 9.2) is parsed as it arrives.

Of an event only its data is used: servers of this API give no event names or ids and cannot
resume a stream. Comments are reported as heartbeats: they show that a silent stream is alive.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from synapse_apply.model.json_values import OddJsonError, parse_lenient_json

Event = dict[str, Any]

LOG_EVENT, HEARTBEAT_EVENT = "log", "heartbeat"
MAX_EVENT_LENGTH = 4 * 1024 * 1024  # characters of one event

_LINE_END = re.compile(r"\r\n|\r|\n")


class OversizedEventError(ValueError):
    """An event has more than MAX_EVENT_LENGTH characters."""


def iter_server_sent_events_and_heartbeats(blocks: Iterable[bytes]) -> Iterator[Event]:
    """Each event as an object with a `type`; a comment is `{"type": "heartbeat"}`.

    An event that is not JSON object, or has no type, becomes `{"type": "log", "data": ...}`. An
    incomplete event at the end of the stream is dropped. OversizedEventError for one too large.
    """
    data: list[str] = []
    size = 0
    for line in _iter_complete_lines(blocks):
        if line.startswith(":"):
            yield {"type": HEARTBEAT_EVENT}
        elif line:
            name, _, value = line.partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
                size += len(value) + 1
                _require_small(size)
        elif data:
            content: Any = "\n".join(data)
            with suppress(OddJsonError):
                content = parse_lenient_json(content)
            if isinstance(content, dict) and isinstance(content.get("type"), str):
                yield content
            else:
                yield {"type": LOG_EVENT, "data": content}
            data, size = [], 0


def _iter_complete_lines(blocks: Iterable[bytes]) -> Iterator[str]:
    """Complete lines without their ends (LF, CR or CRLF); an incomplete last line is dropped."""
    # A leading byte order mark is dropped and invalid UTF-8 replaced, as the standard demands.
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    partial_line: list[str] = []
    size, after_cr = 0, False
    for block in blocks:
        text = decoder.decode(block)
        if not text:
            continue
        # A block that ends in CR may have ended inside of a CRLF.
        first, *next_parts = _LINE_END.split(text.removeprefix("\n") if after_cr else text)
        after_cr = text.endswith("\r")
        partial_line.append(first)
        size += len(first)
        _require_small(size)
        if next_parts:
            yield "".join(partial_line)
            *complete_lines, last = next_parts
            yield from complete_lines
            partial_line, size = [last], len(last)
            _require_small(size)


def _require_small(size: int) -> None:
    """OversizedEventError for an event that would fill the memory if it never ended."""
    if size > MAX_EVENT_LENGTH:
        raise OversizedEventError(f"an event has more than {MAX_EVENT_LENGTH} characters")
