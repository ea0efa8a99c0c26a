"""A backend whose every answer is what a test says: for servers that the embedded one is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from listening import Server


@dataclass(frozen=True)
class Asked:
    """One request; of a query the last value of each name."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any = None


# Status and body; a body of bytes goes as it is, anything else as JSON.
Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


@dataclass
class Answering:
    """Where it listens, and what it was asked."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    def paths(self, method: str = "GET") -> list[str]:
        return [one.path for one in self.asked if one.method == method]


@contextmanager
def answering(answer: Callable[[Asked], Answer]) -> Iterator[Answering]:
    """Serve in this process until the block ends."""
    told = Answering()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_json = "json" in (self.headers.get("Content-Type") or "")
            sent = json.loads(data) if is_json and data else None
            if "form-urlencoded" in (self.headers.get("Content-Type") or ""):
                sent = dict(parse_qsl(data.decode()))
            asked = Asked(self.command, parts.path, query, dict(self.headers), sent)
            told.asked.append(asked)
            status, body, *more = answer(asked)
            is_bytes = isinstance(body, bytes)
            out = body if is_bytes else json.dumps(body).encode()
            self.send_response(status)
            if not (more and "Content-Length" in more[0]):
                self.send_header("Content-Length", str(len(out)))
            if not is_bytes:
                self.send_header("Content-Type", "application/json")
            for name, value in (more[0] if more else {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(out)

        do_GET = do_POST = do_PATCH = do_PUT = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with Server(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
