"""Repositories over HTTP: `git http-backend` on loopback, with answers that are lost or refusals."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread

from git_repositories import ENVIRON
from listening import Server

HEADER = "Authorization: Basic " + base64.b64encode(b"x:hunter2-and-some-more").decode()


class GitServer(Server):
    """Serves the repositories of a folder to who sends HEADER.

    `answers` says for the next pushes what becomes of each: "lose" (done, no answer), "drop" (not
    done, no answer), a status (not done). `failure` is the status of every answer while it is set,
    `moved_to` the server that every answer redirects to. With `repeats` it refuses in words that
    hold what it was sent. `asked` has the path of every request. With `listed_bytes` it lists refs
    for so long, and `sent_bytes` says how far that came.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.root = root
        self.answers: list[str | int] = []
        self.failure = 0
        self.moved_to = ""
        self.repeats = False
        self.asked: list[str] = []
        self.listed_bytes = 0
        self.sent_bytes = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Request(BaseHTTPRequestHandler):
    server: GitServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Be silent."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        size = self.headers.get("Content-Length")
        body = self.rfile.read(int(size)) if size else b"".join(self._iter_chunks())
        is_push = self.path.endswith("/git-receive-pack")
        fault = self.server.answers.pop(0) if is_push and self.server.answers else ""
        if isinstance(fault, int):
            self._send(fault, {}, b"not today")
        elif fault == "drop":
            self.close_connection = True
        else:
            self._answer(body, is_lost=fault == "lose")

    def _iter_chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, body: bytes, *, is_lost: bool = False) -> None:
        self.server.asked.append(self.path)
        if self.server.moved_to:
            self._send(301, {"Location": f"{self.server.moved_to}{self.path}"}, b"")
            return
        if self.server.listed_bytes:
            self._list_refs()
            return
        if self.server.failure:
            self._send(self.server.failure, {}, b"not today")
            return
        sent = self.headers.get("Authorization")
        if self.server.repeats and sent:
            login = base64.b64decode(sent.split()[-1]).decode()
            service = self.path.rpartition("service=")[2]
            lines = (f"# service={service}\n", f"ERR no access for {login} ({sent})\n")
            first, second = (f"{len(line) + 4:04x}{line}" for line in lines)
            kind = {"Content-Type": f"application/x-{service}-advertisement"}
            self._send(200, kind, f"{first}0000{second}".encode())
            return
        if sent != HEADER.partition(": ")[2]:
            self._send(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"who are you?")
            return
        path, _, query = self.path.partition("?")
        done = subprocess.run(
            ["git", "http-backend"],
            env={
                **ENVIRON,
                "GIT_PROJECT_ROOT": str(self.server.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": "x",
            },
            input=body,
            capture_output=True,
            check=True,
        )
        if is_lost:
            self.close_connection = True
            return
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self._send(int(headers.pop("Status", "200").split()[0]), headers, content)

    def _list_refs(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        self.end_headers()
        self.wfile.write(b"001e# service=git-upload-pack\n0000")
        self.wfile.write(b"0039" + b"1" * 40 + b" HEAD\0 ofs-delta\n")
        while self.server.sent_bytes < self.server.listed_bytes:
            at = self.server.sent_bytes
            lines = b"".join(
                b"03e8%s refs/heads/%0943d\n" % (b"1" * 40, at + i) for i in range(999)
            )
            self.server.sent_bytes += self.wfile.write(lines)

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serve_repositories(root: Path) -> Iterator[GitServer]:
    """A server for the repositories of a folder during the block."""
    with GitServer(root) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
