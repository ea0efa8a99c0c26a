"""Server-sent events (WHATWG HTML, 9.2) as they arrive, in constant memory.

Of an event only its data counts here: no server of this API names events, gives ids, or can
resume. Comments are told too, since they are the signs of life of a stream that is silent.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import Any

from synapse_apply.model.server_json import OddJsonError, parse_words

Frame = dict[str, Any]

LOG, HEARTBEAT = "log", "heartbeat"
LARGEST = 4 * 1024 * 1024  # characters of one event

_END = re.compile(r"\r\n|\r|\n")


class OversizedEventError(ValueError):
    """An event that does not end: held in memory it would grow without bound."""


def frames(blocks: Iterable[bytes]) -> Iterator[Frame]:
    """Each event as an object with a `type`; a comment is `{"type": "heartbeat"}`.

    An event that is no JSON object, or has no type, is a line: `{"type": "log", "data": ...}`. One
    that the stream breaks off in is never told. OversizedEventError for one that is too large.
    """
    data: list[str] = []
    size = 0
    for line in _lines(blocks):
        if line.startswith(":"):
            yield {"type": HEARTBEAT}
        elif line:
            name, _, value = line.partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
                size += len(value) + 1
                _check(size)
        elif data:
            yield _frame("\n".join(data))
            data, size = [], 0


def _frame(text: str) -> Frame:
    try:
        value = parse_words(text)
    except OddJsonError:
        value = text
    if isinstance(value, dict) and isinstance(value.get("type"), str):
        return value
    return {"type": LOG, "data": value}


def _lines(blocks: Iterable[bytes]) -> Iterator[str]:
    """Lines without their ends, which are LF, CR or CRLF; what follows the last end is dropped."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    rest: list[str] = []
    size, after_cr = 0, False
    for block in blocks:
        text = decoder.decode(block)
        if not text:
            continue
        # A CR at the very end of a piece was a whole end of line, or half of a CRLF.
        first, *others = _END.split(text.removeprefix("\n") if after_cr else text)
        after_cr = text.endswith("\r")
        rest.append(first)
        size += len(first)
        _check(size)
        if others:
            yield "".join(rest)
            *whole, last = others
            yield from whole
            rest, size = [last], len(last)
            _check(size)


def _check(size: int) -> None:
    if size > LARGEST:
        raise OversizedEventError(f"an event has more than {LARGEST} characters")
