"""A server between the tool and the embedded backend that changes what is answered."""

from __future__ import annotations

import copy
import http.client
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

OWN_DOOR = "/_emulator/"
REQUEST_ID = "req-of-the-lie"


@dataclass(frozen=True)
class Answered:
    """An answer as it goes over the wire: `body` are its bytes, `headers` in their order."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def json(self) -> Any:
        with suppress(ValueError):
            return json.loads(self.body)
        return None

    def with_body(self, body: bytes | Any) -> Answered:
        """The same with these bytes, or with this value as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Answered(self.status, self.headers, data)

    def with_header(self, name: str, value: str) -> Answered:
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return Answered(self.status, (*kept, (name, value)), self.body)


@dataclass(frozen=True)
class Asked:
    """One request; `number` counts from 0 since the last lie was told."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    number: int


Lie = Callable[[Asked, Answered], Answered]


def honest(_asked: Asked, answered: Answered) -> Answered:
    return answered


@dataclass
class Liar:
    """The backend at `behind`, whose answers `lie` may change. `asked` is what was asked for."""

    behind: str
    lie: Lie = honest
    asked: list[Asked] = field(default_factory=list)
    lied: int = 0
    url: str = ""

    def tells(self, lie: Lie) -> None:
        """From now on this lie; requests are counted anew."""
        self.asked.clear()
        self.lie, self.lied = lie, 0

    def _door(self) -> type[BaseHTTPRequestHandler]:
        return type("Door", (_Door,), {"liar": self, "lock": threading.Lock()})

    @contextmanager
    def running(self) -> Iterator[Liar]:
        with ThreadingHTTPServer(("127.0.0.1", 0), self._door()) as listening:
            listening.daemon_threads = True
            listening.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
            self.url = f"http://127.0.0.1:{listening.server_address[1]}"
            thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            yield self
            listening.shutdown()
            thread.join()


class _Door(BaseHTTPRequestHandler):
    """One connection of the tool's."""

    protocol_version = "HTTP/1.1"
    liar: Liar
    lock: threading.Lock

    def setup(self) -> None:
        super().setup()
        self._behind = http.client.HTTPConnection(urlsplit(self.liar.behind).netloc, timeout=60)

    def finish(self) -> None:
        self._behind.close()
        super().finish()

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self._answer()

    def _answer(self) -> None:
        body = self._body()
        answered = self._ask(body)
        if self.path.startswith(OWN_DOOR):
            self._send(answered, close=False)
            return
        liar = self.liar
        with self.lock:
            number = len(liar.asked)
            asked = Asked(self.command, self.path, dict(self.headers), body, number)
            liar.asked.append(asked)
            told = liar.lie(asked, answered)
            liar.lied += told is not answered
        self._send(told, close=told is not answered)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _ask(self, body: bytes) -> Answered:
        kept = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
        kept["Accept-Encoding"] = "identity"
        self._behind.request(self.command, self.path, body, kept)
        # By itself: one that ends the connection is not closed with it where reading it fails.
        with self._behind.getresponse() as answer:
            left_out = {"content-length", "connection", "transfer-encoding"}
            pairs = answer.getheaders()
            headers = tuple(pair for pair in pairs if pair[0].lower() not in left_out)
            return Answered(answer.status, headers, answer.read())

    def _send(self, answered: Answered, *, close: bool) -> None:
        names = {name.lower() for name, _ in answered.headers}
        lines = [f"HTTP/1.1 {answered.status} Told"]
        lines += [f"{name}: {value}" for name, value in answered.headers]
        if not names & {"content-length", "transfer-encoding"} and answered.status != 204:
            lines.append(f"Content-Length: {len(answered.body)}")
        if close:
            lines.append("Connection: close")
        head = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")
        with suppress(OSError):
            self.wfile.write(head + answered.body)
            self.wfile.flush()
            if close:
                self.connection.shutdown(socket.SHUT_WR)
        self.close_connection = close

    def log_message(self, *_arguments: Any) -> None: ...


# What a value is replaced by: JSON, or a text of JSON that Python's own writer does not write.
RAW = "@raw@"


@dataclass(frozen=True)
class Text:
    """This text of JSON, as it stands."""

    text: str


ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 7.0, "", " ", "7 ", "a/b", "..", "a\nb", "../../x", "a?b#c",
    "x" * 300, "\u0000", "\u001b[2J", "\u202etxt", "١٢", "é", [], {}, ["a"], [[]], {"id": {}},
    {"id": []}, {"": ""}, {"$mac": "x"}, 2**63, 10**30,
    Text("1" + "0" * 400), Text("1" + "0" * 5000), Text("NaN"), Text("Infinity"),
    Text("-Infinity"), Text("1e400"), Text("-1e400"), Text('"\\ud800"'), Text('"a\\udfffb"'),
    Text('{"\\ud800": 1}'), Text('{"a": 1, "a": 2}'), Text("[" * 200 + "]" * 200),
    Text("[" * 100_000), Text('{"a":' * 5000 + "1" + "}" * 5000), Text("nul"), Text("0x1"),
)  # fmt: skip

WHOLE: tuple[bytes, ...] = (
    b"", b" ", b"null", b"true", b"0", b'"x"', b"[]", b"{}", b"[[]]", b"NaN", b"<html>", b"\x00",
    b"\xff\xfe\x00", b"\xef\xbb\xbf{}", '{"id": 1}'.encode("utf-16"), b'{"id": 1}}', b'{"id": 1',
    b"[" * 100_000, b'{"a":' * 2000 + b"1" + b"}" * 2000, b'{"results": [null]}',
    b'{"results": [1], "count": 1e400}', b'{"results": {}}', b'{"data": null, "meta": null}',
    b'{"detail": "no"}', b'{"error": {"code": 1, "message": {}, "details": [null, {"field": 1}]}}',
)  # fmt: skip

HEADERS: tuple[tuple[str, str], ...] = (
    ("Date", "Sun, 06 Nov 99999999999999999999 08:49:37 GMT"),
    ("Date", "Mon, 01 Jan 0001 00:00:00 +9999"), ("Date", "1"), ("Date", "(" * 5000),
    ("Date", "Mon, 01 Jan 2024 00:00:00 +99999999999999"), ("Date", "\udcff\udcfe"),
    ("Retry-After", "9" * 5000), ("Retry-After", "-1"), ("Retry-After", "NaN"),
    ("Retry-After", "Fri, 31 Dec 9999 23:59:59 -2359"), ("Age", "9" * 5000), ("Age", "x"),
    ("Content-Type", ";" * 3000), ("Content-Type", "\udcff"), ("Content-Type", "text/html"),
    ("X-Request-ID", "a b"), ("X-Request-ID", "x" * 5000), ("X-Request-ID", "\udcff\u0000"),
    ("Location", "http://[::1"), ("Location", "//"), ("Location", "http://a:999999/%zz"),
    ("Content-Length", "-5"), ("Content-Length", "9" * 5000), ("Content-Length", "1, 2"),
    ("Content-Length", "x"), ("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "gzip"),
    ("Content-Encoding", "gzip"), ("Content-Encoding", "x"), ("Set-Cookie", "a=b"),
    ("Content-Encoding", "gzip, " * 20 + "gzip"), ("X-Long", "y" * 70_000),
)  # fmt: skip

STATUSES = (102, 103, 201, 202, 203, 204, 205, 206, 226, 299, 300, 304, 307, 400, 404, 409, 422)


def some_lie(chance: random.Random) -> Lie:
    """A lie about one answer, the same for the same chance."""
    kind = chance.choices((_replaced, _shaped, _whole, _header, _status), (8, 3, 3, 2, 1))[0]
    return kind(chance)


def _replaced(chance: random.Random) -> Lie:
    odd, where = chance.choice(ODD), chance.random()

    def lie(_asked: Asked, answered: Answered) -> Answered:
        return _with_value(answered, where, odd)

    return lie


def _with_value(answered: Answered, where: float, odd: Any) -> Answered:
    value = answered.json
    places = list(_places(value))
    if not places:
        return answered.with_body(_written([odd]))
    place = places[int(where * len(places))]
    changed = copy.deepcopy(value)
    _set(changed, place, RAW if isinstance(odd, Text) else odd)
    return answered.with_body(_written(changed, odd))


def _shaped(chance: random.Random) -> Lie:
    how, where = chance.choice(("drop", "wrap", "list", "twice", "empty")), chance.random()

    def lie(_asked: Asked, answered: Answered) -> Answered:
        value = answered.json
        places = list(_places(value))
        if not places:
            return answered
        changed, place = copy.deepcopy(value), places[int(where * len(places))]
        has = _get(value, place)
        if how == "drop":
            above = _get(changed, place[:-1])
            del above[place[-1]]
        elif how == "wrap":
            _set(changed, place, {"data": has})
        elif how == "list":
            _set(changed, place, [has])
        elif how == "empty":
            _set(changed, place, type(has)())
        elif isinstance(place[-1], str):
            text, name = json.dumps(changed), json.dumps(place[-1])
            return answered.with_body(text.replace(f"{name}: ", f"{name}: 1, {name}: ", 1).encode())
        return answered.with_body(changed)

    return lie


def _whole(chance: random.Random) -> Lie:
    body = chance.choice(WHOLE)
    return lambda _asked, answered: answered.with_body(body)


def _header(chance: random.Random) -> Lie:
    name, value = chance.choice(HEADERS)
    return lambda _asked, answered: answered.with_header(name, value)


def _status(chance: random.Random) -> Lie:
    status, body = chance.choice(STATUSES), chance.choice((None, *WHOLE))

    def lie(_asked: Asked, answered: Answered) -> Answered:
        told = Answered(status, answered.headers, answered.body)
        return told if body is None else told.with_body(body)

    return lie


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in inside if isinstance(value, dict | list) else ():
        yield (*at, key)
        yield from _places(inner, (*at, key))


def _get(value: Any, place: tuple[Any, ...]) -> Any:
    for part in place:
        value = value[part]
    return value


def _set(value: Any, place: tuple[Any, ...], new: Any) -> None:
    _get(value, place[:-1])[place[-1]] = new


def _written(value: Any, odd: Any = None) -> bytes:
    text = json.dumps(value)
    return text.replace(f'"{RAW}"', odd.text).encode() if isinstance(odd, Text) else text.encode()


def at_request(number: int, lie: Lie) -> Lie:
    """The lie about one request alone, which has a request id of its own then."""

    def told(asked: Asked, answered: Answered) -> Answered:
        if asked.number != number:
            return answered
        return lie(asked, answered.with_header("X-Request-ID", REQUEST_ID))

    return told
