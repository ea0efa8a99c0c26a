"""Fuzzes what a server answers: status, headers and JSON of every request.

The answers are those that the embedded backend gave to the same requests, so that what is odd in
them stands beside what is as it should be.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from fuzz.json_mutations import broken_bytes, mutated, text_of
from fuzz.tool import execute
from fuzz.worlds import copy_example
from waiting import repeat_at_once

PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
manifests: [manifests/]
variables: {{bucket: {{default: raw-images}}, quality: {{type: number, default: 0.8}}}}
targets:
  one: {{url: "{url}", token: {{env: TOKEN}}, settle_after: 1}}
"""
_COMMANDS = (
    ("plan",),
    ("plan", "--json"),
    ("apply", "--auto-approve", "--parallelism", "1"),
    ("drift", "--json"),
    ("doctor",),
    ("get", "jobs"),
    ("jobs", "show", "1"),
    ("jobs", "show", "1", "--json"),
    ("export", "--all", "--to", "out"),
    ("show", "storage/raw-data"),
    ("get", "storages"),
    ("get", "plugin", "1"),
    ("get", "releases", "--plugin", "1"),
    ("state", "settle"),
    ("import", "--all"),
)
_STATUSES = (
    200,
    201,
    204,
    202,
    301,
    304,
    400,
    401,
    403,
    404,
    409,
    418,
    422,
    429,
    500,
    502,
    503,
    999,
)
_HEADERS = (
    *(
        ("Retry-After", text)
        for text in ("9" * 400, "-1", "nan", "1e400", "\x80", "Thu, 99 Foo 0000 99:99:99 GMT")
    ),
    *(
        ("Date", text)
        for text in ("x", "Thu, 01 Jan 0000 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 +2400", "1")
    ),
    *(
        ("Content-Type", text)
        for text in ("text/html", "application/json; charset=utf-16", "a" * 5000, "")
    ),
    *(("Content-Encoding", text) for text in ("gzip", "deflate", "br", "x")),
    *(("X-Request-ID", text) for text in ("\x1b[31m", "x" * 5000, "é")),
    *(("Location", text) for text in ("http://169.254.169.254/", "//", "")),
)


@dataclass
class Answer:
    """What a server said once."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Relay(ThreadingHTTPServer):
    """Hands requests on and remembers the answers; later gives them again, some of them changed."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = behind
        self.known: dict[tuple[str, str], Answer] = {}
        self.random: Random | None = None
        self.turn = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_args: Any) -> None:
        """A client that hangs up is no news."""

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        with self.turn:
            if self.random is None:
                known = self._asked(method, path, body, headers)
                self.known[method, path] = known
                self.known.setdefault((method, urlsplit(path).path), known)
                return known
            found = self.known.get((method, path)) or self.known.get((method, urlsplit(path).path))
            found = found or Answer(
                404, [("Content-Type", "application/json")], b'{"detail": "Not found."}'
            )
            return _changed(found, list(self.known.values()), self.random)

    def _asked(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        request = urllib.request.Request(self.behind + path, body or None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return Answer(response.status, list(response.headers.items()), response.read())
        except urllib.error.HTTPError as problem:
            return Answer(problem.code, list(problem.headers.items()), problem.read())


def _changed(found: Answer, others: list[Answer], random: Random) -> Answer:
    if random.random() < 0.5:
        return found
    status, headers, body = found.status, list(found.headers), found.body
    kind = random.random()
    if kind < 0.7:
        value = _json(body)
        if value is not None:
            body = text_of(mutated(value, random, [_json(random.choice(others).body)])).encode(
                "utf-8", "surrogatepass"
            )
    elif kind < 0.8:
        body = random.choice(
            (b"", b"null", b"\xff\xfe", b"<html>", b"{", broken_bytes(body, random))
        )
    elif kind < 0.9:
        name, value = random.choice(_HEADERS)
        headers = [(known, text) for known, text in headers if known.lower() != name.lower()]
        headers.append((name, value))
    else:
        status = random.choice(_STATUSES)
    return Answer(status, headers, body)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 2  # seconds after which an idle connection is closed, and its thread ends
    server: Relay

    def _handle(self) -> None:
        body = self._body()
        headers = {
            k: v
            for k, v in self.headers.items()
            if k.lower() not in {"host", "connection", "transfer-encoding", "content-length"}
        }
        given = self.server.answer(self.command, self.path, body, headers)
        self.send_response_only(given.status)
        for name, value in given.headers:
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self._headers_buffer.append(f"{name}: {value}\r\n".encode("latin-1", "replace"))
        self.send_header("Content-Length", str(len(given.body)))
        self.end_headers()
        if self.command != "HEAD" and given.status not in {204, 304}:
            self.wfile.write(given.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _handle  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            made = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                made += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return made
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, *_args: Any) -> None:
        """Nothing is said of requests."""


class Answers:
    """An applied quickstart whose server answers oddly."""

    name = "answers"
    environment: ClassVar = {"RAW_DATA_KEY_ID": "AKIA", "TOKEN": "a-token"}

    def prepare(self, folder: Path) -> None:
        from synapse_apply import EmbeddedServer

        copy_example("quickstart", folder)
        server = EmbeddedServer(folder / "backend", token="a-token")
        server.__enter__()
        self.relay = Relay(server.url)
        url = f"http://127.0.0.1:{self.relay.server_port}"
        (folder / "synapse-apply.yaml").write_text(PROJECT.format(url=url), encoding="utf-8")
        self.folder, self.now = folder, folder / ".synapse-apply"
        repeat_at_once(pytest.MonkeyPatch())  # nobody has the time
        for command in (("state", "init"), ("plan",), ("apply", "--auto-approve")):
            if execute(*command, "-t", "one"):
                raise RuntimeError(f"{command} failed")
        for command in _COMMANDS:
            execute(*command, "-t", "one")
            shutil.rmtree(folder / "out", ignore_errors=True)
        self.before = folder / "before"
        shutil.copytree(self.now, self.before)

    def make(self, random: Random) -> bytes:
        """The seed of all answers: what they are hangs on what is asked."""
        commands = random.sample(_COMMANDS, 2)
        return json.dumps({"seed": random.getrandbits(60), "commands": commands}).encode()

    def run(self, data: bytes, random: Random) -> None:
        given = json.loads(data)
        self.relay.random = Random(given["seed"])
        shutil.rmtree(self.now, ignore_errors=True)
        shutil.copytree(self.before, self.now)
        for command in given["commands"]:
            shutil.rmtree(self.folder / "out", ignore_errors=True)
            execute(*command, "-t", "one")
        os.chdir(self.folder)
