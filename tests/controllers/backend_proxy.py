"""A proxy before the backend: which process called what, and when; and what happens at a call.

Times are those of `time.monotonic`, one clock for all processes of a machine, as permits are.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from listening import Server

READS = frozenset({"GET", "HEAD"})
_NOT_FORWARDED = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass
class Call:
    """One call: `ended_at` and `status` are 0 until the backend has answered.

    `tenant` is the one that the request names, `token` what it shows; "" for none.
    """

    number: int
    method: str
    path: str
    process_id: int
    began_at: float
    body: bytes
    tenant: str = ""
    ended_at: float = 0.0
    status: int = 0
    token: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """The JSON object that was sent; empty for any other body."""
        with suppress(ValueError):
            value = json.loads(self.body or b"null")
            return value if isinstance(value, dict) else {}
        return {}

    @property
    def is_done(self) -> bool:
        """Whether the backend did what was asked, wherever its answer went."""
        return 200 <= self.status < 300


class BackendProxy:
    """Forwards every request to the backend, and keeps those that write; a context manager.

    `before_write` is called with a call before the backend sees it, `after_write` when it has been
    acted on and not answered yet; both on the thread of the call.
    """

    def __init__(self, url: str) -> None:
        self.writes: list[Call] = []
        self.read_count = 0
        self.before_write: Callable[[Call], None] | None = None
        self.after_write: Callable[[Call], None] | None = None
        self._lock = threading.Lock()
        self._server = Server(("127.0.0.1", 0), self._build_handler(urlsplit(url).netloc))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def forget(self) -> None:
        """Keep the calls from now on alone."""
        with self._lock:
            self.writes, self.read_count = [], 0

    def _note(self, handler: BaseHTTPRequestHandler, process_id: int, body: bytes) -> Call:
        tenant, token = (
            handler.headers.get(name, "").removeprefix("Token ")
            for name in ("synapse-tenant", "synapse-access-token")
        )
        with self._lock:
            call = Call(
                len(self.writes) + 1, handler.command, handler.path, process_id, time.monotonic(), body,
                tenant, token=token,
            )  # fmt: skip
            self.writes.append(call)
        return call

    def _build_handler(outer, netloc: str) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                self.backend = http.client.HTTPConnection(netloc, timeout=120)
                self.process_id = find_client_process(
                    self.client_address[1], self.request.getsockname()[1]
                )

            def finish(self) -> None:
                self.backend.close()
                super().finish()

            def _handle(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.command in READS:
                    outer.read_count += 1
                    self._forward(body, None)
                    return
                call = outer._note(self, self.process_id, body)
                if outer.before_write:
                    outer.before_write(call)
                self._forward(body, call)

            def _forward(self, body: bytes, call: Call | None) -> None:
                headers = dict(self.headers.items())
                try:
                    self.backend.request(self.command, self.path, body or None, headers)
                    answer = self.backend.getresponse()
                    content = answer.read()
                except (OSError, http.client.HTTPException):
                    self.backend.close()
                    self.close_connection = True
                    if call:
                        call.ended_at = time.monotonic()
                    return
                if call:
                    call.ended_at, call.status = time.monotonic(), answer.status
                    if outer.after_write:
                        outer.after_write(call)
                self.send_response_only(answer.status)
                for name, text in answer.getheaders():
                    if name.lower() not in _NOT_FORWARDED:
                        self.send_header(name, text)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        return Handler


def find_client_process(port: int, server_port: int) -> int:
    """The id of the process that has a connection between these ports; 0 where it has ended."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # Connections that are closed already have inode 0, and a port that may be in use again. Two
    # connections to different servers can have one local port.
    sockets = {
        f"socket:[{row[9]}]"
        for row in rows
        if row[9] != "0"
        and [int(address.partition(":")[2], 16) for address in row[1:3]] == [port, server_port]
    }
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with suppress(OSError):
            for descriptor in (folder / "fd").iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) in sockets:
                        return int(folder.name)
    return 0
