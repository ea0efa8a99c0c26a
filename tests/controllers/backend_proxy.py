"""A proxy before the backend: which process called what, and when; and what happens at a call.

Times are those of `time.monotonic`, one clock for all processes of a machine, as permits are.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler
from typing import Any, Self
from urllib.parse import urlsplit

from listening import Server

Address = tuple[str, int]
READS = frozenset({"GET", "HEAD"})
# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 4, 20, 1
_INODE_OFFSET = 68  # in struct inet_diag_msg
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
    acted on and not answered yet; both on the thread of the call. `alter_answer` changes what the
    backend answers; `write_answer` is a status and a page that writes get in place of that.
    """

    def __init__(self, url: str) -> None:
        self.writes: list[Call] = []
        self.read_count = 0
        self.before_write: Callable[[Call], None] | None = None
        self.after_write: Callable[[Call], None] | None = None
        self.alter_answer: Callable[[bytes], bytes] = bytes
        self.write_answer: tuple[int, str] | None = None
        self._lock = threading.Lock()
        self._server = Server(("127.0.0.1", 0), self._build_handler(urlsplit(url).netloc))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

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

            @cached_property
            def process_id(self) -> int:
                # Asked for at the first write, when the process waits for the answer.
                return find_client_process(self.client_address, self.request.getsockname())

            def _forward(self, body: bytes, call: Call | None) -> None:
                headers = dict(self.headers.items())
                try:
                    self.backend.request(self.command, self.path, body or None, headers)
                    answer = self.backend.getresponse()
                    content = outer.alter_answer(answer.read())
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
                status, headers = answer.status, answer.getheaders()
                if call and outer.write_answer:
                    status, page = outer.write_answer
                    headers, content = [("Content-Type", "text/html")], page.encode()
                self.send_response_only(status)
                for name, text in headers:
                    if name.lower() not in _NOT_FORWARDED:
                        self.send_header(name, text)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        return Handler


def find_client_process(client: Address, server: Address) -> int:
    """The id of the process that has a connection between these addresses; 0 where it has ended."""
    inode = _find_socket_inode(client, server)
    names = os.listdir("/proc") if inode else []  # noqa: PTH208 - paths of all files take 10 ms
    # Most clients began a moment ago.
    numbers = sorted((int(name) for name in names if name.isdecimal()), reverse=True)
    return next((number for number in numbers if _has_socket(number, inode)), 0)


def _has_socket(process_id: int, inode: int) -> bool:
    """Whether a process has it open; False where it has ended."""
    folder = f"/proc/{process_id}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208
            with suppress(OSError):
                if os.readlink(f"{folder}/{name}") == f"socket:[{inode}]":  # noqa: PTH115
                    return True
    return False


def _find_socket_inode(own: Address, other: Address) -> int:
    """The inode of a connection's end, by sock_diag(7); 0 where it is closed.

    /proc/net/tcp has a line for each connection that was closed in the last minute, some ten
    thousand amid all tests, and takes the kernel 30 ms.
    """
    ports_and_addresses = struct.pack(
        "!HH16s16s", own[1], other[1], socket.inet_aton(own[0]), socket.inet_aton(other[0])
    )
    # struct inet_diag_req_v2: a TCP connection in any state, on any interface, without its cookie.
    request = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
    request += ports_and_addresses + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    head = struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as door:
        door.send(head + request)
        answer = door.recv(4096)
    if struct.unpack_from("=H", answer, 4)[0] != _SOCK_DIAG_BY_FAMILY:
        return 0  # an error: there is no such connection
    inode: int = struct.unpack_from("=I", answer, 16 + _INODE_OFFSET)[0]
    return inode
