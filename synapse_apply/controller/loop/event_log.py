"""The lines that the controller writes to stderr: one an event, with named values, never a secret.

What it may hold are names, commits, counts and summaries of findings: no value of a manifest and
no word of a server.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from threading import Lock
from typing import Literal, TextIO

Level = Literal["info", "warn", "error"]


class EventLog:
    """Writes lines of text, or JSON objects, each complete; used by any thread."""

    def __init__(self, stream: TextIO, *, as_json: bool = False) -> None:
        self._stream = stream
        self._as_json = as_json
        self._lock = Lock()

    def write_line(self, level: Level, event: str, now: float, **values: object) -> None:
        """One line; a value that is "" or None is left out. A stream that is gone is no error."""
        moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        named = {name: value for name, value in values.items() if value not in {"", None}}
        if self._as_json:
            header = {"@timestamp": moment, "@level": level, "@message": event}
            line = json.dumps({**header, **named}, default=str)
        else:
            parts = [f"{name}={_format_value(value)}" for name, value in named.items()]
            line = " ".join([moment.replace("+00:00", "Z"), level, event, *parts])
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                return


def _format_value(value: object) -> str:
    """A value as one word, or quoted as JSON: no text can begin a line or another value."""
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    is_word = text.isascii() and text.isprintable() and not set(text) & set(' "=\\')
    return text if is_word else json.dumps(text)
