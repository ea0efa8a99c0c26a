"""What action.yml asks GitHub for: the plan that was reviewed, and one comment that stays one.

Standard library only. Everything it is told comes by the environment.
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


def main(what: str) -> int:
    """Do one of the two; gives the exit code."""
    return {"comment": comment, "reviewed": reviewed}[what]()


def comment() -> int:
    """Write FILE as the comment of NUMBER that AUTHOR wrote before, or as a new one.

    They are the same when they begin with the same line, a hidden marker. Comments of others are
    left alone. What cannot be written is a warning: a report never changes an outcome.
    """
    file = Path(os.environ["FILE"])
    if not file.is_file():
        return 0
    body = file.read_text(encoding="utf-8")
    marker = body.partition("\n")[0]
    try:
        issue = f"issues/{int(os.environ['NUMBER'])}/comments"
        mine = next((row["id"] for row in _rows(issue) if _is_mine(row, marker)), None)
        if mine is None:
            _call("POST", issue, {"body": body})
        else:
            _call("PATCH", f"issues/comments/{mine}", {"body": body})
    except (OSError, ValueError) as problem:
        needs = "It needs `pull-requests: write`, which pull requests from forks never have."
        _tell("warning", "The comment could not be written", f"{problem}. {needs}")
    return 0


def reviewed() -> int:
    """Find the run that planned the pull request that GITHUB_SHA merged; its id is an output."""
    sha, workflow, name = (os.environ[key] for key in ("GITHUB_SHA", "WORKFLOW", "ARTIFACT"))
    try:
        pulls = _call("GET", f"commits/{sha}/pulls")
        merged = [row for row in pulls if row["merged_at"] and row["merge_commit_sha"] == sha]
        if not merged:
            return _unreviewed(f"No pull request was merged as {sha}.")
        number, head = merged[0]["number"], merged[0]["head"]["sha"]
        asked = f"event=pull_request&status=success&head_sha={head}&per_page=1"
        runs = _call("GET", f"actions/workflows/{workflow}/runs?{asked}")["workflow_runs"]
        kept = [row for run in runs for row in _kept(run["id"]) if row["name"] == name]
    except OSError as problem:
        needs = "It needs `actions: read` and `pull-requests: read`."
        _tell("error", "The plan that was reviewed cannot be looked up", f"{problem}. {needs}")
        return 1
    if not runs:
        return _unreviewed(f"{workflow} did not succeed for {head} of pull request {number}.")
    if not kept:
        why = f"The run of {workflow} for pull request {number} kept no artifact {name}."
        return _unreviewed(f"{why} One from a fork has no plan of a backend.")
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as outputs:
        outputs.write(f"number={number}\nrun={runs[0]['id']}\n")
    return 0


def _unreviewed(why: str) -> int:
    hint = "Nothing was applied. Merge a pull request whose plan succeeded, or apply by hand."
    _tell("error", "No plan was reviewed for this commit", f"{why} {hint}")
    return 1


def _kept(run: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _call("GET", f"actions/runs/{run}/artifacts?per_page={PAGE}")[
        "artifacts"
    ]
    return found


def _is_mine(row: dict[str, Any], marker: str) -> bool:
    author = (row["user"] or {}).get("login")
    return author == os.environ["AUTHOR"] and (row["body"] or "").partition("\n")[0] == marker


def _rows(path: str) -> Iterator[dict[str, Any]]:
    """All rows of a list, page after page."""
    number = 0
    while True:
        number += 1
        page = _call("GET", f"{path}?per_page={PAGE}&page={number}")
        yield from page
        if len(page) < PAGE:
            return


def _call(method: str, path: str, body: dict[str, str] | None = None) -> Any:
    """One call, read again where it did not arrive; a POST never is: it could make a second one."""
    request = urllib.request.Request(
        f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/{path}",
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={
            "Authorization": f"Bearer {os.environ['TOKEN']}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
        },
    )
    for left in (0,) if method == "POST" else (2, 1, 0):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except OSError as problem:
            refused = isinstance(problem, urllib.error.HTTPError) and problem.code < 500
            if refused or not left:
                raise
            time.sleep(2)
    return None


def _tell(level: str, title: str, text: str) -> None:
    """An annotation; what it holds must not end its line."""
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    sys.stdout.write(f"::{level} title={title}::{escaped}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
