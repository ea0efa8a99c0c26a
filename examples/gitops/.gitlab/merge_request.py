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
from urllib.parse import urlsplit

PAGE = 100
ODD_ANSWER = (ValueError, LookupError, TypeError, AttributeError)
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
        number = os.environ.get("CI_MERGE_REQUEST_IID") or next(
            (int(row["iid"]) for row in _find_merged()), None
        )
        if number is None:
            return 0
        me = _json("GET", "/user")["id"]
        notes = f"{_project()}/merge_requests/{number}/notes"
        mine = next((row["id"] for row in _rows(notes) if _is_mine(row, me, marker)), None)
        if mine is None:
            _json("POST", notes, {"body": body})
        else:
            _json("PUT", f"{notes}/{mine}", {"body": body})
    except (OSError, *ODD_ANSWER) as problem:
        sys.stderr.write(f"Warning: The note could not be written: {_words(problem)}\n")
    return 0


def reviewed() -> int:
    """Fetch the plan of the merge request that CI_COMMIT_SHA merged, as reviewed.plan.

    It is looked up by the merge request: of its own pipelines, in this project, for the last commit
    of its branch. A commit alone says too little, since several merge requests may have one head.
    """
    try:
        merged = _find_merged()
        if not merged:
            return _unreviewed(f"No merge request was merged as {os.environ['CI_COMMIT_SHA']}.")
        names = ", ".join(f"!{int(row['iid'])}" for row in merged)
        if len({row["sha"] for row in merged}) > 1:
            return _unreviewed(f"Merge requests {names} were all merged as this commit.")
        ours = [
            row for row in merged if str(row["source_project_id"]) == os.environ["CI_PROJECT_ID"]
        ]
        if not ours:
            return _unreviewed(f"Merge request {names} came from a fork, which has no plan.")
        job = next(filter(None, (_find_plan_job(int(row["iid"])) for row in ours)), None)
        if job is None:
            return _unreviewed(f"Job `{JOB}` did not succeed for merge request {names}.")
        folder = os.environ["REPORTS"]
        path = f"{_project()}/jobs/{job}/artifacts/{folder}/{PLAN}"
        Path(folder, "reviewed.plan").write_bytes(_call("GET", path))
    except (OSError, *ODD_ANSWER) as problem:
        sys.stderr.write(f"Error: The plan that was reviewed cannot be read: {_words(problem)}\n")
        return 1
    return 0


def _find_plan_job(number: int) -> int | None:
    """The job that planned in the newest pipeline of a merge request, where it succeeded."""
    one = _json("GET", f"{_project()}/merge_requests/{number}")
    pipelines = [
        row
        for row in _rows(f"{_project()}/merge_requests/{number}/pipelines")
        if row["source"] == "merge_request_event"
        and str(row["project_id"]) == os.environ["CI_PROJECT_ID"]
        and _is_last(row, one)
    ]
    if not pipelines:
        return None
    newest = max(int(row["id"]) for row in pipelines)
    jobs = _rows(f"{_project()}/pipelines/{newest}/jobs?scope=success")
    return max((int(row["id"]) for row in jobs if row["name"] == JOB), default=None)


def _is_last(pipeline: dict[str, Any], request: dict[str, Any]) -> bool:
    """Whether a pipeline is for the last commit of a merge request.

    One of merged results has a commit of its own; there GitLab says which pipeline is the last.
    """
    name = f"refs/merge-requests/{int(request['iid'])}"
    if pipeline["ref"] == f"{name}/head":
        return bool(pipeline["sha"] == request["sha"])
    head = (request["head_pipeline"] or {}).get("id")
    return pipeline["ref"] == f"{name}/merge" and pipeline["id"] == head


def _words(problem: Exception) -> str:
    missing = isinstance(problem, KeyError)
    return f"{problem} is missing" if missing else f"{problem}. Has GITLAB_API_TOKEN scope `api`?"


def _unreviewed(why: str) -> int:
    hint = "Nothing was applied. Merge a request whose plan succeeded, or apply by hand."
    sys.stderr.write(f"Error: No plan was reviewed for this commit\n  {why} {hint}\n")
    return 1


def _find_merged() -> list[dict[str, Any]]:
    """The merge requests that this commit is the outcome of, on this branch of this project."""
    sha = os.environ["CI_COMMIT_SHA"]
    here = (os.environ["CI_PROJECT_ID"], os.environ["CI_COMMIT_BRANCH"])
    return [
        row
        for row in _rows(f"{_project()}/repository/commits/{sha}/merge_requests")
        if row["state"] == "merged"
        and sha in {row["merge_commit_sha"], row["squash_commit_sha"], row["sha"]}
        and here == (str(row["target_project_id"]), row["target_branch"])
    ]


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


class _KeepToken(urllib.request.HTTPRedirectHandler):
    """Follows a redirection, to another origin (where artifacts are stored) without the token."""

    def redirect_request(self, *given: Any) -> urllib.request.Request | None:
        request = super().redirect_request(*given)
        if request is not None and _origin_of(request.full_url) != _origin_of(given[0].full_url):
            request.remove_header("Private-token")
        return request


def _origin_of(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


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
            with urllib.request.build_opener(_KeepToken).open(request, timeout=60) as answer:
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
