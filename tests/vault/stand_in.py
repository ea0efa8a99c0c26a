"""A Vault for tests: what its HTTP API says of KV 2, JWT logins, tokens and namespaces, and no more.

It is strict: what no client of Vault sends is kept in `violations`. Each switch makes it one of the
servers that a client meets. `tests/contract/vault` holds it to a real OpenBao.
"""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from listening import Server
from vault import jwts

READ_ALL = "*"


@dataclass
class Version:
    """One version of a secret."""

    data: dict[str, Any] | None
    deleted: bool = False
    destroyed: bool = False


@dataclass
class Token:
    """A token, and the paths (`kv/raw-data`) that it may read."""

    paths: tuple[str, ...]
    ttl: int = 600
    type: str = "service"


@dataclass
class Role:
    """A role of a JWT login: what it expects, and what its tokens may read."""

    paths: tuple[str, ...]
    token_type: str = "service"


@dataclass
class Request:
    """What was asked, headers by lower-case names."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


# Status, body and headers in place of the answer; None for the usual answer.
Override = Callable[[Request], "tuple[int, bytes, dict[str, str]] | None"]


@dataclass
class StandInVault:
    """A Vault at `url` while it is used as a context manager."""

    namespace: str = ""
    tls: tuple[str, str] | None = None
    sealed: bool = False
    slow: float = 0.0
    drip_seconds: float = 0.0
    override: Override | None = None
    mounts: dict[str, str] = field(default_factory=lambda: {"kv": "2"})
    auth_mounts: set[str] = field(default_factory=lambda: {"jwt"})
    roles: dict[str, Role] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    secrets: dict[str, list[Version]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    url: str = ""

    def put(self, path: str, data: dict[str, Any]) -> int:
        """Write a new version of a secret; returns its number."""
        versions = self.secrets.setdefault(path, [])
        versions.append(Version(data))
        return len(versions)

    def delete(self, path: str, version: int) -> None:
        self.secrets[path][version - 1].deleted = True

    def destroy(self, path: str, version: int) -> None:
        self.secrets[path][version - 1].destroyed = True

    def enable(self, mount: str, version: str = "2") -> None:
        """Mount a KV engine."""
        self.mounts[mount] = version

    def make_token(self, *paths: str) -> str:
        """A token that may read these paths, `*` for all."""
        text = f"hvs.{secrets.token_urlsafe(24)}"
        self.tokens[text] = Token(paths)
        return text

    def make_role(self, name: str, *paths: str, token_type: str = "service") -> None:
        """A role whose tokens may read these paths."""
        self.roles[name] = Role(paths, token_type)

    def count(self, method: str, path: str) -> int:
        """How often a path was asked for; with a `?`, that query."""
        return sum(one.method == method and one.path == path for one in self.requests)

    def __enter__(self) -> Self:
        vault = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one write

            def setup(self) -> None:
                super().setup()
                vault._connections.append(self.connection)

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                vault.requests.append(request)
                overridden = vault.override(request) if vault.override else None
                if overridden is None:
                    time.sleep(vault.slow)
                    status, document = vault.answer(request)
                    content = json.dumps(document).encode() if document is not None else b""
                    overridden = status, content, {"Content-Type": "application/json"}
                self._write(*overridden)

            def _write(self, status: int, content: bytes, more: dict[str, str]) -> None:
                self.send_response(status)
                if not {"Content-Length", "Transfer-Encoding"} & more.keys():
                    self.send_header("Content-Length", str(len(content)))
                for name, value in more.items():
                    self.send_header(name, value)
                self.end_headers()
                for number in range(len(content) if vault.drip_seconds else 0):
                    time.sleep(vault.drip_seconds)
                    self.wfile.write(content[number : number + 1])
                    self.wfile.flush()
                if not vault.drip_seconds:
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do_LIST = _answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._connections: list[socket.socket] = []
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False  # so that `server_close` waits for them
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def answer(self, request: Request) -> tuple[int, Any]:
        """The usual answer to a request."""
        parts = urlsplit(request.path)
        path = unquote(parts.path).removeprefix("/v1/")
        self._note_violations(request, parts.path)
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if request.headers.get("x-vault-namespace", "").strip("/") != self.namespace:
            return 404, {"errors": ["namespace not found"]}
        if path.startswith("auth/") and path.endswith("/login"):
            return self._log_in(path.split("/")[1], request)
        token = request.headers.get("x-vault-token", "")
        if token not in self.tokens:
            return 403, {"errors": ["permission denied"]}
        if path == "auth/token/lookup-self":
            known = self.tokens[token]
            found = {"id": token, "ttl": known.ttl, "type": known.type, "policies": ["default"]}
            return 200, reply(data=found)
        if path == "auth/token/revoke-self":
            del self.tokens[token]
            return 204, None
        if path.startswith("sys/internal/ui/mounts/"):
            return self._describe_mount(path.removeprefix("sys/internal/ui/mounts/"), token)
        return self._read(path, parse_qs(parts.query), token)

    def _note_violations(self, request: Request, path: str) -> None:
        if request.headers.get("x-vault-request") != "true":
            self.violations.append(f"{path}: no X-Vault-Request")
        if not path.startswith("/v1/") or ".." in path or "//" in path:
            self.violations.append(f"{path}: no path of Vault")
        is_write = path.endswith(("/login", "/revoke-self"))
        if request.method != ("POST" if is_write else "GET"):
            self.violations.append(f"{path}: {request.method}")
        if request.body and request.headers.get("content-type") != "application/json":
            self.violations.append(f"{path}: a body that is not JSON")
        if path.endswith("/login") and "x-vault-token" in request.headers:
            self.violations.append(f"{path}: a token that a login has no use for")

    def _log_in(self, mount: str, request: Request) -> tuple[int, Any]:
        if mount not in self.auth_mounts:
            return 403, {"errors": ["permission denied"]}
        sent = json.loads(request.body)
        role = self.roles.get(sent["role"])
        if role is None:
            return 400, {"errors": [f'role "{sent["role"]}" could not be found']}
        if problem := find_jwt_problem(sent["jwt"]):
            return 400, {"errors": [problem]}
        token = self.make_token(*role.paths)
        self.tokens[token].type = role.token_type
        auth = {
            "client_token": token,
            "lease_duration": 600,
            "token_type": role.token_type,
            "policies": ["default"],
            "mfa_requirement": None,
        }
        return 200, {**reply(data=None), "auth": auth}

    def _find_mount(self, path: str) -> str:
        fitting = [mount for mount in self.mounts if f"{path}/".startswith(f"{mount}/")]
        return max(fitting, key=len, default="")

    def _may_read(self, token: str, path: str) -> bool:
        paths = self.tokens[token].paths
        return READ_ALL in paths or path in paths

    def _describe_mount(self, path: str, token: str) -> tuple[int, Any]:
        mount = self._find_mount(path)
        readable = self.tokens[token].paths
        if not mount or not any(
            one == READ_ALL or self._find_mount(one) == mount for one in readable
        ):
            reason = f'preflight capability check returned 403: "{path}/"'
            return 403, {"errors": [reason]}
        options = {"version": self.mounts[mount]}
        return 200, reply(data={"path": f"{mount}/", "type": "kv", "options": options})

    def _read(self, path: str, query: dict[str, list[str]], token: str) -> tuple[int, Any]:
        mount = self._find_mount(path)
        rest = path[len(mount) + 1 :]
        name = f"{mount}/{rest.removeprefix('data/')}"
        if not self._may_read(token, name):
            return 403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
        if not mount:
            return 404, {"errors": [f'no handler for route "{path}". route entry not found.']}
        if self.mounts[mount] == "1":
            stored = self.secrets.get(path)
            return (200, reply(data=stored[-1].data)) if stored else (404, {"errors": []})
        if not rest.startswith("data/"):
            return 404, reply(data=None)
        versions = self.secrets.get(name, [])
        number = int(query.get("version", ["0"])[0]) or len(versions)
        if not 0 < number <= len(versions):
            return 404, {"errors": []}
        version = versions[number - 1]
        gone = version.deleted or version.destroyed
        metadata = {
            "version": number,
            "destroyed": version.destroyed,
            "deletion_time": "2026-01-02T03:04:05Z" if version.deleted else "",
        }
        document = reply(data={"data": None if gone else version.data, "metadata": metadata})
        return (404 if gone else 200), document


def reply(data: Any) -> dict[str, Any]:
    """What stands around the data of every success."""
    return {
        "request_id": "00000000-1111-2222-3333-444444444444",
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": None,
        "warnings": None,
        "auth": None,
    }


def find_jwt_problem(jwt: str) -> str:
    """Why a JWT is refused, in Vault's words; "" if it is not."""
    if not jwt:
        return "missing token"
    claims = jwts.read_claims(jwt)
    if claims is None:
        return "error validating token: error verifying token signature: no known key"
    if claims["exp"] < time.time():
        return "error validating token: invalid expiration time (exp) claim: token is expired"
    if claims["iss"] != jwts.ISSUER:
        return "error validating token: invalid issuer (iss) claim"
    if claims["aud"] != jwts.AUDIENCE:
        return (
            "error validating token: invalid audience (aud) claim: audience claim does not match "
            "any expected audience"
        )
    if claims["sub"] != jwts.SUBJECT:
        return "error validating token: invalid subject (sub) claim"
    return ""
