"""What .gitlab-ci.yml asks GitLab for: the plan that was reviewed, and one note that stays one.

Standard library only. Everything it is told comes by the environment; GITLAB_API_TOKEN is a project
access token of scope `api`.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = 100
JOB, PLAN = "plan", "saved.plan"


def main(what: str) -> int:
    """Do one of the two; gives the exit code."""
    return {"comment": comment, "reviewed": reviewed}[what]()


def comment() -> int:
    """Write comment.md as the note that this token wrote before, or as a new one.

    They are the same when they begin with the same line, a hidden marker. What cannot be written is
    a warning: a report never changes an outcome.
    """
    file = Path(os.environ["REPORTS"], "comment.md")
    if not file.is_file():
        return 0
    body = file.read_text(encoding="utf-8")
    marker = body.partition("\n")[0]
    try:
        number = os.environ.get("CI_MERGE_REQUEST_IID") or (_merged() or {}).get("iid")
        if number is None:
            return 0
        me = _json("GET", "/user")["id"]
        notes = f"{_project()}/merge_requests/{number}/notes"
        mine = next((row["id"] for row in _rows(notes) if _is_mine(row, me, marker)), None)
        if mine is None:
            _json("POST", notes, {"body": body})
        else:
            _json("PUT", f"{notes}/{mine}", {"body": body})
    except (OSError, KeyError) as problem:
        sys.stderr.write(f"Warning: The note could not be written: {_words(problem)}\n")
    return 0


def reviewed() -> int:
    """Fetch the plan of the merge request that CI_COMMIT_SHA merged, as reviewed.plan."""
    try:
        merged = _merged()
        if merged is None:
            return _unreviewed(f"No merge request was merged as {os.environ['CI_COMMIT_SHA']}.")
        number = merged["iid"]
        one = _json("GET", f"{_project()}/merge_requests/{number}")
        pipeline = (one["head_pipeline"] or {}).get("id")
        jobs = f"{_project()}/pipelines/{pipeline}/jobs?scope=success"
        planned = [row for row in _rows(jobs) if row["name"] == JOB] if pipeline else []
        if not planned:
            return _unreviewed(f"Job `{JOB}` did not succeed for merge request !{number}.")
        folder = os.environ["REPORTS"]
        path = f"{_project()}/jobs/{planned[0]['id']}/artifacts/{folder}/{PLAN}"
        Path(folder, "reviewed.plan").write_bytes(_call("GET", path))
    except (OSError, KeyError) as problem:
        sys.stderr.write(f"Error: The plan that was reviewed cannot be read: {_words(problem)}\n")
        return 1
    return 0


def _words(problem: Exception) -> str:
    missing = isinstance(problem, KeyError)
    return f"{problem} is not set" if missing else f"{problem}. Has GITLAB_API_TOKEN scope `api`?"


def _unreviewed(why: str) -> int:
    hint = "Nothing was applied. Merge a request whose plan succeeded, or apply by hand."
    sys.stderr.write(f"Error: No plan was reviewed for this commit\n  {why} {hint}\n")
    return 1


def _merged() -> dict[str, Any] | None:
    """The merge request that this commit is the outcome of."""
    sha = os.environ["CI_COMMIT_SHA"]
    for row in _rows(f"{_project()}/repository/commits/{sha}/merge_requests"):
        outcomes = (row["merge_commit_sha"], row["squash_commit_sha"], row["sha"])
        if row["state"] == "merged" and sha in outcomes:
            return row
    return None


def _is_mine(row: dict[str, Any], me: int, marker: str) -> bool:
    return row["author"]["id"] == me and row["body"].partition("\n")[0] == marker


def _project() -> str:
    return f"/projects/{os.environ['CI_PROJECT_ID']}"


def _rows(path: str) -> Iterator[dict[str, Any]]:
    """All rows of a list, page after page."""
    number, more = 0, "&" if "?" in path else "?"
    while True:
        number += 1
        page = _json("GET", f"{path}{more}per_page={PAGE}&page={number}")
        yield from page
        if len(page) < PAGE:
            return


def _json(method: str, path: str, body: dict[str, str] | None = None) -> Any:
    return json.loads(_call(method, path, body))


def _call(method: str, path: str, body: dict[str, str] | None = None) -> bytes:
    """One call, again where it did not arrive; a POST never is: it could make a second one."""
    request = urllib.request.Request(
        f"{os.environ['CI_API_V4_URL']}{path}",
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={
            "PRIVATE-TOKEN": os.environ["GITLAB_API_TOKEN"],
            "Content-Type": "application/json",
        },
    )
    for left in (0,) if method == "POST" else (2, 1, 0):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                found: bytes = answer.read()
                return found
        except OSError as problem:
            refused = isinstance(problem, urllib.error.HTTPError) and problem.code < 500
            if refused or not left:
                raise
            time.sleep(2)
    return b""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
