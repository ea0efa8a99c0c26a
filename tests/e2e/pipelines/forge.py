"""A forge on loopback: a real HTTP server that keeps comments and knows what was merged."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "forge-token-of-tests"
BOT = "github-actions[bot]"
PROJECT = "acme/vision"


@dataclass
class Forge:
    """`routes` answer paths: a regular expression, and what gives the status and the JSON."""

    url: str = ""
    comments: list[dict[str, Any]] = field(default_factory=list)
    pulls: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    failing: list[int] = field(default_factory=list)

    def add(self, who: str, body: str) -> dict[str, Any]:
        number = len(self.comments) + 1
        login = {"login": who, "id": 1 if who == BOT else 2}
        row = {"id": number, "user": login, "author": login, "body": body}
        self.comments.append(row)
        return row

    def by_bot(self) -> list[str]:
        return [row["body"] for row in self.comments if row["user"]["login"] == BOT]

    def answer(self, method: str, target: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and document (or bytes) of one request."""
        parts = urlsplit(target)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        for pattern, does in ROUTES.items():
            if found := re.fullmatch(pattern, f"{method} {parts.path}"):
                return does(self, found.groups(), asked, body)
        return 404, {"message": f"no route for {method} {parts.path}"}


Asked = dict[str, str]


def _page(rows: list[Any], asked: Asked) -> tuple[int, Any]:
    size, number = int(asked.get("per_page", "30")), int(asked.get("page", "1"))
    return 200, rows[(number - 1) * size : number * size]


def _rewrite(forge: Forge, which: str, body: dict[str, Any]) -> tuple[int, Any]:
    row = forge.comments[int(which) - 1]
    row["body"] = body["body"]
    return 200, row


def _runs(forge: Forge, asked: Asked) -> tuple[int, Any]:
    wanted = (asked["event"], asked["status"])
    run = forge.runs.get(asked["head_sha"]) if wanted == ("pull_request", "success") else None
    return 200, {"workflow_runs": [{"id": run}] if run else []}


def _merge_request(forge: Forge, which: str) -> tuple[int, Any]:
    row = next(r for rows in forge.pulls.values() for r in rows if str(r["iid"]) == which)
    run = forge.runs.get(row["head"])
    return 200, {**row, "head_pipeline": {"id": run} if run else None}


GITHUB, GITLAB = f"/repos/{PROJECT}", "/projects/42"
ROUTES: dict[str, Callable[[Forge, tuple[str, ...], Asked, dict[str, Any]], tuple[int, Any]]] = {
    rf"GET {GITHUB}/issues/7/comments": lambda f, _, q, __: _page(f.comments, q),
    rf"POST {GITHUB}/issues/7/comments": lambda f, _, __, b: (201, f.add(BOT, b["body"])),
    rf"PATCH {GITHUB}/issues/comments/(\d+)": lambda f, g, _, b: _rewrite(f, g[0], b),
    rf"GET {GITHUB}/commits/(\w+)/pulls": lambda f, g, _, __: (200, f.pulls.get(g[0], [])),
    rf"GET {GITHUB}/actions/workflows/pull-request.yml/runs": lambda f, _, q, __: _runs(f, q),
    rf"GET {GITHUB}/actions/runs/(\d+)/artifacts": lambda f, g, _, __: (
        200,
        {"artifacts": [{"name": name} for name in f.artifacts.get(g[0], [])]},
    ),
    r"GET /user": lambda _, __, ___, ____: (200, {"id": 1}),
    rf"GET {GITLAB}/merge_requests/7/notes": lambda f, _, q, __: _page(f.comments, q),
    rf"POST {GITLAB}/merge_requests/7/notes": lambda f, _, __, b: (201, f.add(BOT, b["body"])),
    rf"PUT {GITLAB}/merge_requests/7/notes/(\d+)": lambda f, g, _, b: _rewrite(f, g[0], b),
    rf"GET {GITLAB}/merge_requests/(\d+)": lambda f, g, _, __: _merge_request(f, g[0]),
    rf"GET {GITLAB}/repository/commits/(\w+)/merge_requests": lambda f, g, q, __: _page(
        f.pulls.get(g[0], []), q
    ),
    rf"GET {GITLAB}/pipelines/(\d+)/jobs": lambda _, g, q, __: _page(
        [{"id": 1, "name": "check"}, {"id": int(g[0]) * 10, "name": "plan"}], q
    ),
    rf"GET {GITLAB}/jobs/(\d+)/artifacts/(.+)": lambda f, g, _, __: (200, f.files["/".join(g)]),
}


@contextmanager
def serving() -> Iterator[Forge]:
    """A forge that runs until the end; who has not the token gets 401."""
    forge = Forge()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            forge.seen.append(f"{self.command} {self.path}")
            given = (self.headers.get("Authorization"), self.headers.get("PRIVATE-TOKEN"))
            status, found = 401, {"message": "Bad credentials"}
            if forge.failing:
                status = forge.failing.pop(0)
            elif f"Bearer {TOKEN}" in given or TOKEN in given:
                status, found = forge.answer(self.command, self.path, json.loads(data or "{}"))
            text = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_PUT = do  # noqa: N815 - as the library calls them

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    forge.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield forge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
