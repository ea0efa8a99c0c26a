"""What a command sent: a proxy on loopback that keeps each request before it is passed on."""

from __future__ import annotations

import hashlib
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class Recording(ThreadingHTTPServer):
    """Passes requests on to a backend; `requests` has method, target and body of each."""

    daemon_threads = True

    def __init__(self, backend: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.backend = urlsplit(backend).netloc
        self.requests: list[tuple[str, str, str]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recording

    def parse_request(self) -> bool:
        if not (is_whole := super().parse_request()):
            return is_whole
        body = self._read_body()
        form = self.headers.get("Content-Type", "")
        self.server.requests.append((self.command, self.path, _spell(body, form)))
        onward = http.client.HTTPConnection(self.server.backend, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name not in _OF_A_HOP}
        onward.request(self.command, self.path, body or None, headers)
        answer = onward.getresponse()
        content = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.title() not in _OF_A_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        onward.close()
        return False

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *_arguments: Any) -> None:
        """Nothing: what was sent is compared."""


_OF_A_HOP = {"Connection", "Transfer-Encoding", "Content-Length", "Host"}


def _spell(body: bytes, form: str) -> str:
    """The body as it can be compared: of a form without its boundary, bytes by their digest."""
    _, _, boundary = form.partition("boundary=")
    if not boundary:
        return body.decode()
    parts = body.replace(boundary.strip('"').encode(), b"BOUNDARY").split(b"\r\n")
    shown = [
        part.decode() if part.isascii() else hashlib.sha256(part).hexdigest() for part in parts
    ]
    return "\n".join(shown)
