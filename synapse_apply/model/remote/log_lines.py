"""How an entry of a job's log becomes lines, in each shape in which servers write it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from synapse_apply.model.coding.server_json import OddJsonError, parse_lenient_json
from synapse_apply.model.frozen import frozen

_EVENT_PREFIX = "data:"


@frozen
class LogLine:
    """One line of a log. `timestamp` and `level` are as the server writes them, "" for none."""

    message: str
    timestamp: str = ""
    level: str = ""


def iter_log_lines(entry: object) -> Iterator[LogLine]:
    """The lines of one log entry; a message with line breaks gives several.

    An entry is an object with `message` (the API page), a text (the platform), or a text that is
    itself a server-sent event (the tail of the platform's v1).
    """
    if isinstance(entry, Mapping):
        message = entry.get("message", entry.get("data"))
        if isinstance(message, Mapping):
            # Some servers put an entry with a message of its own under `data`.
            message = message.get("message", message)
        text = _to_text(entry if message is None else message)
        timestamp = _to_text(entry.get("timestamp", entry.get("datetime")))
        yield from _timed_lines(text, timestamp, _to_text(entry.get("level")).lower())
    elif isinstance(entry, str) and entry.lstrip().startswith(_EVENT_PREFIX):
        yield from _lines_of(entry)
    else:
        yield from _timed_lines(_to_text(entry))


def _lines_of(text: str) -> Iterator[LogLine]:
    """The lines of server-sent frames in a text; the text's own lines where it has no frames."""
    frames = []
    for part in text.splitlines():
        if not part.strip():
            continue
        try:
            inner = parse_lenient_json(part.strip().removeprefix(_EVENT_PREFIX))
        except OddJsonError:
            inner = None
        # A log line that merely begins with `data:`; it is shown as it is.
        if not isinstance(inner, Mapping) or not isinstance(inner.get("type"), str):
            yield from _timed_lines(text)
            return
        frames.append(inner)
    for frame in frames:
        if frame["type"] == "log":
            yield from iter_log_lines(frame.get("data", frame))


def _timed_lines(text: str, timestamp: str = "", level: str = "") -> Iterator[LogLine]:
    for line in text.replace("\r\n", "\n").removesuffix("\n").split("\n"):
        yield LogLine(line, timestamp, level)


def _to_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
