"""What servers say, as values: answers, errors, lines of logs, ids, clocks.

Which ids of server objects are accepted, in answers, manifests, states and commands. An id becomes
a segment of a URL, a key in the state and a word in commands that are printed for people to copy.
So it has to be short, without characters that have a meaning in any of these.

What one small HTTP request and its answer are, for servers that are not the backend. The client
sends them (client/http/exchange.py); who asks a server about secrets uses these values alone, and
so needs no HTTP library.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from enum import Enum
from typing import Any, Protocol

from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_values import OddJsonError, TextForm, parse_lenient_json
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.secrets.secret_marks import MaskedText


@frozen
class ClockSkew:
    """Bounds of the server's clock minus this machine's, in seconds."""

    low: float
    high: float

    @property
    def min_difference(self) -> float:
        """By how many seconds they differ at least; 0 where they may agree."""
        return max(0.0, self.low, -self.high)

    @property
    def local_clock_description(self) -> str:
        """How this machine's clock compares, as the end of a sentence."""
        if not self.min_difference:
            return "agrees with the server's"
        direction = "behind" if self.low > 0 else "ahead of"
        return f"is {round(abs(self.low + self.high) / 2)} s {direction} the server's"


@frozen
class DryRunCounts:
    """Counts of calls: answered by the backend (`tried`), refused among these, and not tried."""

    tried: int = 0
    refused: int = 0
    untried: int = 0

    @property
    def total_calls(self) -> int:
        """The number of all calls of the plan."""
        return self.tried + self.untried


REMOTE_ID_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._~:@+=-]{0,127}")
REMOTE_ID_RULE = (
    "1 to 128 characters of A-Z, a-z, 0-9 and `. _ ~ : @ + = -`, the first a letter, a digit or `_`"
)
REMOTE_ID_FORM = TextForm(REMOTE_ID_PATTERN, f"an id: {REMOTE_ID_RULE}")
_MAX_BITS = 425  # 128 decimal digits
_JSON_TYPES: Mapping[type, str] = {
    bool: "a truth",
    float: "a fraction",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def has_remote_id_form(text: str) -> bool:
    """Whether a text is accepted as the id of a server object."""
    return REMOTE_ID_PATTERN.fullmatch(text) is not None


def parse_remote_id(value: Any) -> str:
    """The id in a JSON value as text; raises ValueError, whose text does not quote the value."""
    # A tuple of types: `int | str` would be made anew for each of thousands of ids.
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        found = _JSON_TYPES.get(type(value), type(value).__name__)
        raise ValueError(f"an id is a string or an integer, not {found}")  # noqa: TRY004
    if isinstance(value, int):
        if value < 0 or value.bit_length() > _MAX_BITS:
            raise ValueError("an id is not negative and has at most 128 digits")
    elif not has_remote_id_form(value):
        raise ValueError(f"an id has {REMOTE_ID_RULE}")
    return str(value)


# What a page of HTML in place of an error body is told as, perhaps with its title.
HTML_PAGE = "an HTML page"
# Keys whose messages are about the whole object, not a field of this name.
_GENERAL_KEYS = frozenset({"detail", "non_field_errors", "__all__", "message", "error"})
# FastAPI puts the part of the request before the field's path.
_LOCATION_NAMES = frozenset({"body", "query", "path", "header"})
_MAX_DEPTH = 12
# Field names of the API; keys and tokens have capitals, or digits between letters.
_FIELD_NAME = re.compile(r"[a-z]+[0-9]?(_[a-z]+[0-9]?)*")


def format_safe_name(path: FieldPath) -> str:
    """A field's path such as `configuration.region`; "" where a part may be a sent value."""
    # In a free-form map a key may be a value that was sent.
    is_safe = all(
        isinstance(part, int)
        or (not isinstance(part, MaskedText) and _FIELD_NAME.fullmatch(part) is not None)
        for part in path
    )
    return format_field_path(path) if is_safe else ""


def parse_field_errors(body: Any) -> dict[FieldPath, tuple[str, ...]]:
    """The messages of an error body by field path, in the form of DRF, FastAPI or API v2.

    The path `()` is the whole request. Never raises: unknown forms are left out.
    """
    parts = body if isinstance(body, Mapping) else {}
    detail, error_object = parts.get("detail"), parts.get("error")
    if isinstance(detail, list) and any(isinstance(item, Mapping) for item in detail):
        found = _iter_fastapi_errors(detail)
    elif isinstance(error_object, Mapping):
        found = _iter_envelope_errors(error_object)
    else:
        found = _iter_drf_errors(body, ())
    # The same text may come from several validators.
    texts_by_path: dict[FieldPath, dict[str, None]] = {}
    for path, text in found:
        texts_by_path.setdefault(path, {})[text] = None
    return {path: tuple(texts) for path, texts in texts_by_path.items()}


def _iter_drf_errors(value: Any, path: FieldPath) -> Iterator[tuple[FieldPath, str]]:
    if len(path) > _MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _iter_drf_errors(inner, path if key in _GENERAL_KEYS else (*path, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            # DRF lists texts for one field, and maps for the items of a list field.
            nested = isinstance(inner, Mapping | list)
            yield from _iter_drf_errors(inner, (*path, index) if nested else path)
    elif isinstance(value, str) and value:
        yield path, value  # numbers and flags explain nothing


def _iter_fastapi_errors(items: list[Any]) -> Iterator[tuple[FieldPath, str]]:
    for item in items:
        if not isinstance(item, Mapping):
            continue
        location = item.get("loc")
        parts = location if isinstance(location, list) else []
        path = tuple(part for part in parts if isinstance(part, str | int))
        if path and path[0] in _LOCATION_NAMES:
            path = path[1:]
        yield path, str(item.get("msg") or item.get("type") or "invalid")


def _iter_envelope_errors(error_object: Mapping[str, Any]) -> Iterator[tuple[FieldPath, str]]:
    if message := error_object.get("message") or error_object.get("code"):
        yield (), str(message)
    details = error_object.get("details")
    for item in details if isinstance(details, list) else []:
        if isinstance(item, Mapping) and item.get("message"):
            name = item.get("field")
            path = tuple(name.split(".")) if isinstance(name, str) and name else ()
            yield path, str(item["message"])


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


@frozen
class HttpRequest:
    """A request to the server that a sender was made for; `path` begins with '/'.

    Path, headers and body may hold credentials, and are not part of the repr. After an answer of
    `repeated_statuses` the sender sends it again. `max_seconds` shortens the sender's own limit.
    """

    method: str
    path: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    repeated_statuses: frozenset[int] = frozenset()
    max_seconds: float = math.inf


@frozen
class HttpAnswer:
    """A whole answer, of any status; names of `headers` are in lower case.

    Headers and body may hold secrets, and are not part of the repr.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


class HttpFault(Enum):
    """Why there is no whole answer. UNTRUSTED: the TLS connection failed or is not trusted."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    UNTRUSTED = "untrusted"
    BROKEN = "broken"
    TOO_LARGE = "too large"


class HttpExchangeError(Exception):
    """No whole answer arrived; `reason` is a phrase that quotes nothing of request or answer."""

    def __init__(self, fault: HttpFault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason


SendHttpRequest = Callable[[HttpRequest], HttpAnswer]
"""Sends one request and returns its answer; raises HttpExchangeError. Follows no redirect."""


class HttpConnection(Protocol):
    """Connections to one server, made when the first request is sent; safe for many threads."""

    def send_request(self, request: HttpRequest) -> HttpAnswer:
        """As SendHttpRequest."""
        ...

    def close(self) -> None:
        """Close the connections; nothing can be sent afterwards."""
        ...


ConnectHttp = Callable[[str, str], HttpConnection]
"""Makes the HttpConnection to an origin (`https://HOST:PORT`), which trusts the authorities of a
file, "" for the usual ones. Raises SecretUnavailable where no credential may be sent there.
"""
