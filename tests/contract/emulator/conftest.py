"""A plain HTTP client of the standard library, and servers on real sockets."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from synapse_apply import EmbeddedServer

TOKEN = "acme-token"
OTHER_TOKEN = "other-token"
BOUNDARY = "part-border"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class Wire:
    """Requests of one client; `headers` go with each."""

    url: str
    headers: Mapping[str, str]

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """`body`: bytes as they are, None for no body at all, anything else as JSON."""
        sent = {**self.headers, **{name.replace("_", "-"): text for name, text in headers.items()}}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            named = {name.lower(): text for name, text in answer.getheaders()}
            return Reply(answer.status, named, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        return self.send("GET", path)

    def post(self, path: str, body: Any = None) -> Reply:
        return self.send("POST", path, body)

    def put(self, path: str, body: Any = None) -> Reply:
        return self.send("PUT", path, body)

    def patch(self, path: str, body: Any = None) -> Reply:
        return self.send("PATCH", path, body)

    def post_form(self, path: str, *parts: tuple[str, Any]) -> Reply:
        """Multipart: texts as they are, bytes as a file named `yolo.zip`."""
        return self.send(
            "POST",
            path,
            form(*parts),
            Content_Type=f"multipart/form-data; boundary={BOUNDARY}",
        )

    def plugin(self, **fields: Any) -> dict[str, Any]:
        reply = self.post("/plugins/", {"name": "Yolo", **fields})
        assert reply.status == 201, reply.content
        return reply.body

    def storage(self, **fields: Any) -> dict[str, Any]:
        reply = self.post("/storages/", {"name": "raw", "provider": "minio", **fields})
        assert reply.status == 201, reply.content
        return reply.body

    def as_tenant(self, token: str) -> Wire:
        """The same server, asked by another tenant."""
        return Wire(self.url, {"Synapse-Access-Token": f"Token {token}"})

    def move_clock(self, ahead: float) -> None:
        """The server's clock is this many seconds ahead from now on."""
        assert self.patch("/_emulator/clock/", {"ahead": ahead}).status == 200

    def in_english(self) -> Wire:
        return Wire(self.url, {**self.headers, "Accept-Language": "en"})

    def plugin_of_platform(self, code: str = "yolo", **fields: Any) -> dict[str, Any]:
        return self.plugin(**{"name": code, "code": code, "category": "neural_net", **fields})

    def upload(self, plugin: str, package: str, /, **fields: str) -> Reply:
        """A release as the vendor's publisher sends it: code, file, and few other parts."""
        parts = (("plugin", plugin), *fields.items(), ("file", zipped(package)))
        return self.post_form("/plugin_releases/", *parts)

    def plugin_v2(self, code: str = "yolo", **fields: Any) -> dict[str, Any]:
        """A plugin of API v2, its name the code unless given."""
        data = {"code": code, "name": code, "category": "export", **fields}
        reply = self.post("/v2/plugins/", data)
        assert reply.status == 201, reply.content
        return reply.body["data"]

    def release_v2(self, plugin: int, version: str, package: bytes = b"") -> Reply:
        package = package or zipped()
        digest = hashlib.sha256(package).hexdigest()
        return self.post_form(
            "/v2/plugin-releases/",
            ("plugin", str(plugin)),
            ("version", version),
            ("sha256", digest),
            ("file", package),
        )

    def run(self, plugin: int | str, **fields: Any) -> int:
        reply = self.post(f"/plugins/{plugin}/run/", fields)
        assert reply.status == 200, reply.content
        return reply.body["job_id"]


def form(*parts: tuple[str, Any]) -> bytes:
    pieces = []
    for name, value in parts:
        is_file = isinstance(value, bytes)
        extra = '; filename="yolo.zip"\r\nContent-Type: application/zip' if is_file else ""
        data = value if is_file else value.encode()
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
        pieces.append(head.encode() + data + b"\r\n")
    return b"".join(pieces) + f"--{BOUNDARY}--\r\n".encode()


def zipped(config: str = "name: Yolo\n", name: str = "config.yaml") -> bytes:
    """A package with a configuration in it; the same bytes at any time."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), config)
    return packed.getvalue()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Wire]]:
    """Starts a server with options; the wire speaks as tenant `acme`."""
    with ExitStack() as stack:

        def started(**options: Any) -> Wire:
            tokens = {TOKEN: "acme", OTHER_TOKEN: "other"}
            server = EmbeddedServer(tmp_path / "data", tokens=tokens, tenant="acme", **options)
            stack.enter_context(server)
            return Wire(server.url, {"Synapse-Access-Token": f"Token {TOKEN}"})

        yield started


@pytest.fixture
def wire(start: Callable[..., Wire]) -> Wire:
    return start()


@pytest.fixture
def vendor(start: Callable[..., Wire]) -> Wire:
    """A backend as the vendor's own tools find theirs, on a clock that a test moves."""
    return start(profile="vendor", job_seconds=60.0)


@pytest.fixture
def other(wire: Wire) -> Wire:
    """A client of another tenant, on the same server."""
    return Wire(wire.url, {"Synapse-Access-Token": OTHER_TOKEN})
