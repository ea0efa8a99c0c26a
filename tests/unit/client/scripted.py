"""A real HTTP server on loopback that answers by script, faults of the transport included."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from queue import SimpleQueue
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

# Seconds that a server is silent, and longer than any test waits.
SILENCE = 120.0


@dataclass(frozen=True)
class Received:
    """One request as it came over the wire; `connection` counts connections from 1."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


# A step gets the socket and the request, and says whether the connection stays open.
Step = Callable[["ScriptedServer", socket.socket, Received], bool]


def answer(status: int = 200, body: Any = None, *, close: bool = False, **headers: str) -> Step:
    """A whole answer; a body that is not bytes is sent as JSON, None is what was asked for.

    Header names: `_` is `-`.
    """

    def step(_server: ScriptedServer, sock: socket.socket, request: Received) -> bool:
        told = thing(request) if body is None else body
        data = told if isinstance(told, bytes) else json.dumps(told).encode()
        named = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        sock.sendall(head(status, named) + data)
        return not close

    return step


_LISTS = frozenset({"plugins", "plugin_releases", "plugin-releases", "jobs", "storages"})


def thing(request: Received) -> dict[str, Any]:
    """Any object of the API, the one that the path names by its id, its code or CODE@VERSION."""
    parts = [unquote(part) for part in request.path.split("/")]
    named = next((name for above, name in pairwise(parts) if above in _LISTS and name), "1")
    version = named.partition("@")[2] or "1.0.0"
    identity = named if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._~:+=-]*", named) else 1
    return {"id": identity, "code": named, "plugin_id": 1, "version": version}


def head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def raw(data: bytes) -> Step:
    """These bytes, then the end of the connection."""

    def step(_server: ScriptedServer, sock: socket.socket, _request: Received) -> bool:
        sock.sendall(data)
        return False

    return step


def truncated(status: int = 200) -> Step:
    """A body that stops half-way."""
    return raw(head(status, {"Content-Length": "100"}) + b'{"id": 1')


def dropped() -> Step:
    """The connection ends in order, without an answer."""
    return raw(b"")


def reset() -> Step:
    """The connection is reset without an answer."""

    def step(_server: ScriptedServer, sock: socket.socket, _request: Received) -> bool:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    return step


def hang() -> Step:
    """No answer while the server lives."""

    def step(server: ScriptedServer, _sock: socket.socket, _request: Received) -> bool:
        server.stopped.wait(SILENCE)
        return False

    return step


def drip(start: bytes, *, every: float = 0.02) -> Step:
    """These bytes, then a blank now and then without end."""

    def step(server: ScriptedServer, sock: socket.socket, _request: Received) -> bool:
        sock.sendall(start)
        while not server.stopped.wait(every):
            sock.sendall(b" ")
        return False

    return step


@dataclass
class ScriptedServer:
    """Answers by the script's next step; when it has run out, 200 with what was asked for.

    `cuts` are bytes of the next requests' bodies after which the connection is reset; `closed` gets
    the number of each connection once it is closed here.
    """

    script: deque[Step] = field(default_factory=deque)
    cuts: deque[int] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    closed: SimpleQueue[int] = field(default_factory=SimpleQueue)
    route: Callable[[Received], Step] | None = None

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._count = 0
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def then(self, *steps: Step) -> ScriptedServer:
        self.script.extend(steps)
        return self

    def stop(self) -> None:
        """Nobody waits on any of its sockets after this.

        Closing alone leaves a thread in `accept`, with a number that the next listener gets: when
        the process is stopped and goes on, the thread would take that one's connections.
        """
        self.stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._count += 1
            self._sockets.append(sock)
            threading.Thread(target=self._serve, args=(sock, self._count), daemon=True).start()

    def _serve(self, sock: socket.socket, connection: int) -> None:
        try:
            with sock, sock.makefile("rb") as stream:
                while request := _read(stream, connection, self.cuts):
                    self.received.append(request)
                    cut = len(request.body) < int(request.headers.get("content-length", 0))
                    step = reset() if cut else self._next(request)
                    if not step(self, sock, request):
                        return
        except (OSError, ValueError):
            return
        finally:
            self.closed.put(connection)

    def _next(self, request: Received) -> Step:
        if self.route is not None:
            return self.route(request)
        return self.script.popleft() if self.script else answer()


def _read(stream: Any, connection: int, cuts: deque[int]) -> Received | None:
    first = stream.readline().decode().split()
    if len(first) != 3:
        return None
    headers: dict[str, str] = {}
    while line := stream.readline().strip().decode("latin-1"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", 0))
    body = stream.read(min(length, cuts.popleft()) if cuts and length else length)
    return Received(first[0], first[1], headers, body, connection)
