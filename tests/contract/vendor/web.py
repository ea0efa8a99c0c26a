"""The stand-in's HTTP: requests, answers, routes, and what a test arranges to go wrong."""

from __future__ import annotations

import http.server
import json
import re
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from contract.vendor.words import say
from listening import Server

# The edge answers 520 for a request line or a header over about 11.5 KB [Sm].
_EDGE_LIMIT = 11_500


@dataclass(frozen=True)
class Part:
    """One part of a form."""

    name: str
    content: bytes
    filename: str | None = None

    @property
    def text(self) -> str:
        return self.content.decode("utf-8")


@dataclass(frozen=True)
class Request:
    """One request as it arrived; `path` is without the base path, `tenant` who is asking."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Message
    body: bytes = b""
    origin: str = ""
    tenant: str = ""

    @property
    def english(self) -> bool:
        """`Accept-Language` picks the language of messages [C]; without it they are Korean."""
        return self.headers.get("Accept-Language", "").lower().startswith("en")

    @property
    def media_type(self) -> str:
        return self.headers.get_content_type() if self.headers["Content-Type"] else ""

    def parameter(self, name: str) -> str | None:
        """The value of a query parameter; the last one, as Django has it."""
        return dict(self.query).get(name)

    def say(self, key: str, value: Any = "") -> str:
        return say(self.english, key, value)

    def json(self) -> dict[str, Any]:
        """The object of a JSON body. No body at all is an empty object [S]."""
        if self.media_type not in {"application/json", ""}:
            raise Refusal(415, {"detail": self.say("media type", self.media_type)})
        try:
            value = json.loads(self.body) if self.body else {}
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Refusal(400, {"detail": self.say("broken json")})
        return value

    def parts(self) -> list[Part]:
        """The parts of a multipart form, bytes as they were sent."""
        boundary = self.headers.get_param("boundary")
        assert isinstance(boundary, str), "a form without a boundary"
        pieces = (b"\r\n" + self.body).split(b"\r\n--" + boundary.encode())
        assert pieces[0] == b"", "text before the first part of a form"
        assert pieces[-1].strip() == b"--", "a form without its end"
        return [_part(piece) for piece in pieces[1:-1]]


@dataclass(frozen=True)
class Reply:
    """An answer: JSON, or bytes where `content_type` says what they are."""

    status: int
    value: Any = None
    content: bytes | None = None
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def payload(self) -> bytes:
        if self.content is not None:
            return self.content
        return json.dumps(self.value, ensure_ascii=False).encode()


class Refusal(Exception):
    """An answer that ends the handling of a request."""

    def __init__(self, status: int, value: Any) -> None:
        super().__init__(status)
        self.reply = Reply(status, value)


@dataclass
class Incident:
    """Something that happens once, to the first request that it fits.

    `before` runs before the request is handled (somebody else was faster), `instead` answers in
    place of the backend, and `after` in place of its answer, once it has acted. With
    `loses_answer` the connection breaks after it has acted.
    """

    method: str
    path: str
    before: Callable[[], object] | None = None
    instead: Reply | None = None
    after: Reply | None = None
    loses_answer: bool = False

    def fits(self, request: Request) -> bool:
        return request.method == self.method and re.fullmatch(self.path, request.path) is not None


Handler = Callable[..., Reply]


@dataclass(frozen=True)
class Route:
    """A path below the base, its methods, and whether it needs no token."""

    path: str
    methods: dict[str, Handler]
    is_open: bool = False


@dataclass
class Site:
    """What answers: routes, the check of who asks, and the log of all requests."""

    routes: list[Route]
    authenticate: Callable[[Request], str]
    base_path: str = ""
    incidents: list[Incident] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def answer(self, request: Request) -> Reply | None:
        """The reply; None where the connection is to break."""
        with self.lock:
            self.requests.append(request)
            incident = next((one for one in self.incidents if one.fits(request)), None)
            if incident is not None:
                self.incidents.remove(incident)
                if incident.before is not None:
                    incident.before()
                if incident.instead is not None:
                    return incident.instead
            try:
                reply = self._handle(request)
            except Refusal as refusal:
                reply = refusal.reply
            except Exception:  # noqa: BLE001  a test looks at these at its end
                self.crashes.append(traceback.format_exc())
                reply = Reply(500, content=b"<h1>Server Error (500)</h1>", content_type="text/html")
            if incident is None:
                return reply
            return None if incident.loses_answer else incident.after or reply

    def _handle(self, request: Request) -> Reply:
        for route in self.routes:
            match = re.fullmatch(route.path, request.path)
            if match is None:
                continue
            who = "" if route.is_open else self.authenticate(request)
            request = Request(**{**vars(request), "tenant": who})
            handler = route.methods.get(request.method)
            if handler is None:
                raise Refusal(405, {"detail": request.say("method", request.method)})
            return handler(request, *map(unquote, match.groups()))
        # A path without a route is the framework's own page, not the API's 404 [D].
        return Reply(404, content=b"<h1>Not Found</h1>", content_type="text/html; charset=utf-8")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site
    # A small answer must not wait for the acknowledgement of its headers.
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Nothing: the site keeps the log."""

    def _answer(self) -> None:
        body = self._body()
        if len(self.raw_requestline) > _EDGE_LIMIT or any(
            len(value) > _EDGE_LIMIT for value in self.headers.values()
        ):
            self._send(Reply(520, content=b"error code: 520", content_type="text/plain"))
            return
        parts = urlsplit(self.path)
        path = parts.path.removeprefix(self.site.base_path) if self.site.base_path else parts.path
        if self.site.base_path and path == parts.path:
            path = "/outside" + path
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        origin = f"http://{self.headers['Host']}{self.site.base_path}"
        request = Request(self.command, path, query, self.headers, body, origin)
        reply = self.site.answer(request)
        if reply is None:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._send(reply)

    # The library looks these names up.
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        blocks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            blocks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(blocks)

    def _send(self, reply: Reply) -> None:
        payload = b"" if reply.status == 204 else reply.payload
        with suppress(OSError):
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(payload)))
            for name, value in reply.headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)


@contextmanager
def serve_site(site: Site) -> Iterator[str]:
    """The URL at which the site answers, on loopback alone."""
    handler = type("Handler", (_Handler,), {"site": site})
    with Server(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{site.base_path}"
        finally:
            server.shutdown()
            thread.join()


def _part(piece: bytes) -> Part:
    head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    name = re.search(rb'name="([^"]*)"', head)
    assert name is not None, head
    filename = re.search(rb'filename="([^"]*)"', head)
    return Part(name[1].decode(), content, filename[1].decode() if filename else None)
