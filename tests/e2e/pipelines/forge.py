"""A forge on loopback: a real HTTP server that keeps comments and knows what was merged."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from listening import Server

TOKEN = "forge-token-of-tests"
BOT = "github-actions[bot]"
PROJECT = "acme/vision"
Asked = dict[str, str]


@dataclass
class Forge:
    """`ROUTES` answer paths: a regular expression, and what gives the status and the JSON.

    `moved` redirects paths, `unplanned` are pipelines whose job `plan` failed; with
    `answer_all_runs` the filters of a list of runs are passed over. `parents` are those of each
    commit there is, and `archives` the bytes of artifacts by their ids.
    """

    url: str = ""
    comments: list[dict[str, Any]] = field(default_factory=list)
    pulls: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    pipelines: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    artifacts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    archives: dict[str, bytes] = field(default_factory=dict)
    parents: dict[str, list[str]] = field(default_factory=dict)
    answer_all_runs: bool = False
    unplanned: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    failing: list[int] = field(default_factory=list)

    def add(self, who: str, body: str, request: str = "7") -> dict[str, Any]:
        number = len(self.comments) + 1
        login = {"login": who, "id": 1 if who == BOT else 2}
        row = {"id": number, "user": login, "author": login, "body": body, "of": request}
        self.comments.append(row)
        return row

    def comments_of(self, request: str) -> list[dict[str, Any]]:
        """The comments of a pull or merge request."""
        return [row for row in self.comments if row["of"] == request]

    def keep_artifact(self, run_id: int, number: int, name: str, data: bytes) -> None:
        """What a run uploaded, as GitHub lists and serves it."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        row = {"id": number, "name": name, "expired": False, "digest": digest}
        self.artifacts.setdefault(str(run_id), []).append(row)
        self.archives[str(number)] = data

    def add_commits(self, *commits: str) -> None:
        """Commits that follow on each other, the oldest first."""
        for older, newer in zip((None, *commits), commits, strict=False):
            self.parents.setdefault(newer, [older] if older else [])

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


def _page(rows: list[Any], asked: Asked) -> tuple[int, Any]:
    if isinstance(rows, bytes):
        return 200, rows
    size, number = int(asked.get("per_page", "30")), int(asked.get("page", "1"))
    return 200, rows[(number - 1) * size : number * size]


def _rewrite(forge: Forge, which: str, body: dict[str, Any]) -> tuple[int, Any]:
    row = forge.comments[int(which) - 1]
    row["body"] = body["body"]
    return 200, row


def make_run(number: int, head: str, **more: Any) -> dict[str, Any]:
    """A run of pull-request.yml that planned a branch of this repository, as GitHub tells of it."""
    return {
        "id": number,
        "event": "pull_request",
        "head_sha": head,
        "path": ".github/workflows/pull-request.yml",
        "status": "completed",
        "conclusion": "success",
        "repository": {"full_name": PROJECT},
        "head_repository": {"full_name": PROJECT},
        **more,
    }


def make_pull(number: int, head: str, merged: str, **more: Any) -> dict[str, Any]:
    """A pull request that was merged into main, as GitHub tells of it."""
    here = {"full_name": PROJECT}
    return {
        "number": number,
        "merged_at": "2026-01-01T00:00:00Z",
        "merge_commit_sha": merged,
        "head": {"sha": head, "repo": here},
        "base": {"ref": "main", "repo": here},
        **more,
    }


def make_merge_request(number: int, head: str, **more: Any) -> dict[str, Any]:
    """A merge request of this project into main, as GitLab tells of it."""
    return {
        "iid": number,
        "state": "merged",
        "sha": head,
        "merge_commit_sha": None,
        "squash_commit_sha": None,
        "source_project_id": 42,
        "target_project_id": 42,
        "target_branch": "main",
        "head_pipeline": None,
        **more,
    }


def make_pipeline(number: int, request: int, head: str, **more: Any) -> dict[str, Any]:
    """A pipeline of a merge request, as GitLab tells of it."""
    return {
        "id": number,
        "project_id": 42,
        "source": "merge_request_event",
        "ref": f"refs/merge-requests/{request}/head",
        "sha": head,
        **more,
    }


def make_archive(files: Mapping[str, bytes]) -> bytes:
    """The zip of an artifact."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _reach(forge: Forge, sha: str) -> dict[str, None]:
    """A commit and all before it, each behind its parents."""
    reached: dict[str, None] = {}
    waiting = [sha]
    while waiting:
        current = waiting[-1]
        missing = [parent for parent in forge.parents[current] if parent not in reached]
        if missing:
            waiting += missing
        else:
            reached[waiting.pop()] = None
    return reached


def _compare(forge: Forge, before: str, after: str, asked: Asked) -> tuple[int, Any]:
    """As GitHub compares: the commits that only `after` has, the oldest first, in pages."""
    if not {before, after} <= set(forge.parents):
        return 404, {"message": "Not Found"}
    known, reached = _reach(forge, before), _reach(forge, after)
    rows = [
        {"sha": sha, "parents": [{"sha": parent} for parent in forge.parents[sha]]}
        for sha in reached
        if sha not in known
    ]
    status = "ahead" if before in reached else "diverged"
    page = _page(rows, asked)[1]
    return 200, {"status": status, "total_commits": len(rows), "commits": page}


def _commits(forge: Forge, asked: Asked) -> tuple[int, Any]:
    """As GitLab lists a range: by first parents, the newest first."""
    assert asked["first_parent"] == "true"
    before, _, current = asked["ref_name"].partition("..")
    if not {before, current} <= set(forge.parents):
        return 404, {"message": "404 Repository Not Found"}
    known, rows = _reach(forge, before), list[dict[str, Any]]()
    while current not in known:
        parents = forge.parents[current]
        rows.append({"id": current, "parent_ids": parents})
        if not parents:
            break
        current = parents[0]
    return _page(rows, asked)


def _runs(forge: Forge, asked: Asked) -> tuple[int, Any]:
    wanted = (asked["event"], asked["head_sha"])
    rows = [
        row
        for row in forge.runs
        if forge.answer_all_runs or wanted == (row["event"], row["head_sha"])
    ]
    return 200, {"workflow_runs": _page(rows, asked)[1]}


def _merge_request(forge: Forge, which: str) -> tuple[int, Any]:
    rows = (row for rows in forge.pulls.values() for row in rows)
    return 200, next(row for row in rows if str(row["iid"]) == which)


GITHUB, GITLAB = f"/repos/{PROJECT}", "/projects/42"
ROUTES: dict[str, Callable[[Forge, tuple[str, ...], Asked, dict[str, Any]], tuple[int, Any]]] = {
    rf"GET {GITHUB}/issues/(\d+)/comments": lambda f, g, q, __: _page(f.comments_of(g[0]), q),
    rf"POST {GITHUB}/issues/(\d+)/comments": lambda f, g, _, b: (201, f.add(BOT, b["body"], g[0])),
    rf"PATCH {GITHUB}/issues/comments/(\d+)": lambda f, g, _, b: _rewrite(f, g[0], b),
    rf"GET {GITHUB}/commits/(\w+)/pulls": lambda f, g, q, __: _page(f.pulls.get(g[0], []), q),
    rf"GET {GITHUB}/actions/workflows/[a-z-]+.yml/runs": lambda f, _, q, __: _runs(f, q),
    rf"GET {GITHUB}/actions/runs/(\d+)/artifacts": lambda f, g, q, __: (
        200,
        {"artifacts": _page(f.artifacts.get(g[0], []), q)[1]},
    ),
    rf"GET {GITHUB}/actions/artifacts/(\d+)/zip": lambda f, g, _, __: (200, f.archives[g[0]]),
    rf"GET {GITHUB}/compare/(\w+)\.\.\.(\w+)": lambda f, g, q, __: _compare(f, g[0], g[1], q),
    r"GET /user": lambda _, __, ___, ____: (200, {"id": 1}),
    rf"GET {GITLAB}/merge_requests/(\d+)/notes": lambda f, g, q, __: _page(f.comments_of(g[0]), q),
    rf"POST {GITLAB}/merge_requests/(\d+)/notes": lambda f, g, _, b: (
        201,
        f.add(BOT, b["body"], g[0]),
    ),
    rf"PUT {GITLAB}/merge_requests/\d+/notes/(\d+)": lambda f, g, _, b: _rewrite(f, g[0], b),
    rf"GET {GITLAB}/repository/commits": lambda f, _, q, __: _commits(f, q),
    rf"GET {GITLAB}/merge_requests/(\d+)/pipelines": lambda f, g, q, __: _page(
        f.pipelines.get(int(g[0]), []), q
    ),
    rf"GET {GITLAB}/merge_requests/(\d+)": lambda f, g, _, __: _merge_request(f, g[0]),
    rf"GET {GITLAB}/repository/commits/(\w+)/merge_requests": lambda f, g, q, __: _page(
        f.pulls.get(g[0], []), q
    ),
    rf"GET {GITLAB}/pipelines/(\d+)/jobs": lambda f, g, q, __: _page(
        [{"id": 1, "name": "check"}]
        + ([] if g[0] in f.unplanned else [{"id": int(g[0]) * 10, "name": "plan"}]),
        q,
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
            if self.path in forge.moved:
                self.send_response(302)
                self.send_header("Location", forge.moved[self.path])
                self.end_headers()
                return
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

    server = Server(("127.0.0.1", 0), Handler)
    forge.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield forge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
