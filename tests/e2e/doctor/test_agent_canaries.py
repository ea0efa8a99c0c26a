"""No agent token in any byte we write, whatever the server sends back."""

from __future__ import annotations

import http.server
import json
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

import pytest
from e2e.scenarios.canaries import forms
from e2e.scenarios.workplace import STORAGE, Ran, Workplace, project
from echoing import echoing

# One as a platform gives them, one with what every encoding treats in its own way.
CANARIES = {"PLAIN": "cAn4ry:agent-5555", "ODD": "cAn4ry ag+ent\"é'&%<6666"}


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers a health check with the token it was sent, in the way that `how` says."""

    how: ClassVar[str] = "detail"
    protocol_version = "HTTP/1.0"
    # How it answers: the status, and a body from the token and the path.
    WAYS: ClassVar = {
        "status": (200, lambda token, _path: {"status": token, "healthy": False}),
        "name": (200, lambda token, path: {"status": "ok", "name": token, "url": path}),
        "ill": (200, lambda token, _path: {"status": "down", "reason": token}),
        "list": (200, lambda token, path: [token, path]),
        "detail": (404, lambda token, path: {"detail": f"no agent {token} at {path}"}),
        "fields": (400, lambda token, path: {token: [path], "token": [token]}),
        "meta": (503, lambda token, _path: {"meta": {"request_id": token}}),
        "html": (502, lambda token, _path: f"<html><title>{token}</title></html>"),
        "text": (500, lambda token, _path: token),
        "headers": (429, lambda _token, _path: {}),
        "redirect": (302, lambda _token, _path: {}),
    }

    def do_GET(self) -> None:
        self._answer(200, {"count": 0, "next": None, "previous": None, "results": []})

    def do_POST(self) -> None:
        if not self.path.startswith("/agents/"):
            self._answer(400, {"name": ["no"]})
            return
        token = unquote(self.path.split("/")[2])
        status, body = self.WAYS[self.how]
        self._answer(status, body(token, self.path), token)

    def _answer(self, status: int, body: object, token: str = "") -> None:
        plain = token.encode("ascii", "ignore").decode()
        page = isinstance(body, str)
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status, plain if self.how == "headers" else None)
        self.send_header("X-Request-Id", plain or "r-1")
        if self.how == "redirect" and token:
            self.send_header("Location", self.path + "?again=" + plain)
        self.send_header("Content-Type", "text/html" if page else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        """Quiet."""


def leaks(data: bytes) -> list[str]:
    return [name for name, token in CANARIES.items() if any(form in data for form in forms(token))]


@pytest.mark.parametrize("log", ["trace", "json"])
@pytest.mark.parametrize("how", Echo.WAYS)
def test_a_server_that_sends_the_token_back(tmp_path: Path, how: str, log: str) -> None:
    """Checks, plans, applies, their logs and the files they leave: none tells a token."""
    with echoing(Echo, how) as url:
        agents = {name.lower(): {"env": name} for name in CANARIES}
        place = Workplace(tmp_path, {**CANARIES, "PROD_TOKEN": "t", "SYNAPSE_APPLY_LOG": log})
        place.write("synapse-apply.yaml", project(url, agents=agents))
        place.write("manifests/storage.yaml", STORAGE)
        place.run("state", "init", code=0)
        ran: list[Ran] = [
            place.run("doctor"),
            place.run("doctor", "--json"),
            place.apply(code=None),
            place.apply("--json", code=None),
        ]
    codes = [one.code for one in ran]
    assert codes == ([0, 0, 3, 3] if how == "name" else [1] * 4)
    for one in ran:
        assert "POST agents/***/connect/ ->" in one.err
        assert leaks(one.text.encode()) == [], one.text
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or leaks(path.read_bytes()) == [], path
