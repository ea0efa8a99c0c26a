"""A server on loopback that keeps each request, and fails on purpose when it is told to."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from listening import Server


@dataclass(frozen=True)
class Request:
    """What was asked; names of headers in lower case, of a query the last value of each name."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Failure:
    """How one request fails: an answer in place of the usual one, or none.

    `is_answer_lost`: it is acted on, and the connection ends without an answer. `seconds`: nothing
    is said for so long, or until the server stops, and then the connection ends.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"message": "failed on purpose"}'
    is_answer_lost: bool = False
    seconds: float = 0.0


Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]


class LoopbackServer:
    """Answers by `reply`; a context manager. `failures` are used up one a request.

    `failure_of_all` holds for every request while it is set.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.failures: deque[Failure] = deque()
        self.failure_of_all: Failure | None = None
        self.on_request: Callable[[Request], None] | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = Server(("127.0.0.1", 0), self._build_handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def reply(self, request: Request) -> Reply:
        """Status, JSON value (or bytes) and headers of the usual answer."""
        raise NotImplementedError

    def _answer(self, request: Request) -> Reply | None:
        """None for an answer that does not come."""
        with self._lock:
            self.requests.append(request)
            failure = self.failure_of_all or (self.failures.popleft() if self.failures else None)
        if self.on_request:
            self.on_request(request)
        if failure is None or failure.is_answer_lost:
            with self._lock:
                answer = self.reply(request)
            return None if failure else answer
        if failure.seconds:
            self._stopped.wait(failure.seconds)
        return (failure.status, failure.body, failure.headers) if failure.status else None

    def _build_handler(outer) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length") or 0))
                answer = outer._answer(Request(self.command, parts.path, query, headers, body))
                if answer is None:
                    self.close_connection = True
                    return
                status, value, *more = answer
                content = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Type", "application/json; charset=utf-8")
                for name, text in (more[0] if more else {}).items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        return Handler


def wait_until(
    condition: Callable[[], Any], seconds: float, what: str, *, pause: float = 0.02
) -> Any:
    """The first true value of a condition; AssertionError with `what` after so many seconds.

    `pause` seconds are between two attempts.
    """
    end = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(pause)
