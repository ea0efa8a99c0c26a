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
from urllib.parse import quote, urlsplit

PAGE = 100
ODD_ANSWER = (ValueError, LookupError, TypeError, AttributeError)


class UnreviewedCommit(Exception):
    """There is no plan that counts for this commit; the text says why."""


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
    except (OSError, *ODD_ANSWER) as problem:
        needs = "It needs `pull-requests: write`, which pull requests from forks never have."
        _tell("warning", "The comment could not be written", f"{problem}. {needs}")
    return 0


def reviewed() -> int:
    """Find the plan of the pull request that GITHUB_SHA merged; run and artifact are outputs.

    It is looked up by the pull request: the artifact has its number in its name, and is of a run of
    the last commit of its branch. A commit alone says too little, since several pull requests, also
    to other branches, may have one head.
    """
    sha, workflow, name = (os.environ[key] for key in ("GITHUB_SHA", "WORKFLOW", "ARTIFACT"))
    try:
        plan = _find_only_plan(_find_merged(sha), workflow, name)
    except UnreviewedCommit as problem:
        hint = "Nothing was applied. Merge a pull request whose plan succeeded, or apply by hand."
        _tell("error", "No plan was reviewed for this commit", f"{problem} {hint}")
        return 1
    except (OSError, *ODD_ANSWER) as problem:
        needs = "It needs `actions: read` and `pull-requests: read`."
        _tell("error", "The plan that was reviewed cannot be looked up", f"{problem!r}. {needs}")
        return 1
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as outputs:
        outputs.writelines(f"{key}={value}\n" for key, value in plan.items())
    return 0


def _find_merged(sha: str) -> list[dict[str, Any]]:
    """The pull requests that were merged into this branch as this commit."""
    branch = os.environ["GITHUB_REF_NAME"] if os.environ["GITHUB_REF_TYPE"] == "branch" else None
    merged = [
        row
        for row in _rows(f"commits/{sha}/pulls")
        if row["merged_at"]
        and row["merge_commit_sha"] == sha
        and _is_here(row["base"]["repo"])
        and branch in {None, row["base"]["ref"]}
    ]
    if not merged:
        raise UnreviewedCommit(f"No pull request was merged as {sha}.")
    if len({row["head"]["sha"] for row in merged}) > 1:
        numbers = ", ".join(str(int(row["number"])) for row in merged)
        raise UnreviewedCommit(f"Pull requests {numbers} were all merged as {sha}.")
    return merged


def _find_only_plan(pulls: list[dict[str, Any]], workflow: str, name: str) -> dict[str, int]:
    """The plan of the first that has one: all have the same commits, and the same base."""
    problem = None
    for pull in pulls:
        try:
            return _find_plan(pull, workflow, name)
        except UnreviewedCommit as found:
            problem = problem or found
    raise problem or UnreviewedCommit("No pull request was merged.")


def _find_plan(pull: dict[str, Any], workflow: str, name: str) -> dict[str, int]:
    """The newest plan that a run of the workflow kept for this pull request's last commit."""
    number, head = int(pull["number"]), pull["head"]["sha"]
    if not _is_here(pull["head"]["repo"]):
        raise UnreviewedCommit(
            f"Pull request {number} came from a fork, which has no plan of a backend."
        )
    asked = f"event=pull_request&head_sha={quote(head, safe='')}"
    runs = _rows(f"actions/workflows/{quote(workflow, safe='')}/runs?{asked}", "workflow_runs")
    for run in sorted(runs, key=lambda row: -int(row["id"])):
        if not _is_of(run, head, workflow):
            continue
        kept = _rows(f"actions/runs/{int(run['id'])}/artifacts", "artifacts")
        # A run that was repeated has one of each attempt.
        plans = [
            int(row["id"])
            for row in kept
            if row["name"] == f"{name}-{number}" and not row["expired"]
        ]
        if plans and run["conclusion"] != "success":
            raise UnreviewedCommit(
                f"The last run of {workflow} for pull request {number} did not succeed."
            )
        if plans:
            return {"number": number, "run": int(run["id"]), "artifact": max(plans)}
    raise UnreviewedCommit(
        f"No run of {workflow} kept an artifact {name}-{number} for {head}, the last commit of "
        f"pull request {number}."
    )


def _is_of(run: dict[str, Any], head: str, workflow: str) -> bool:
    """Whether a run is of this workflow, for a pull request of this repository, with this head."""
    return (
        run["event"] == "pull_request"
        and run["head_sha"] == head
        and run["path"].partition("@")[0] == f".github/workflows/{workflow}"
        and _is_here(run["repository"])
        and _is_here(run["head_repository"])
    )


def _is_here(repository: dict[str, Any] | None) -> bool:
    """Whether it is this repository; a fork that was removed is none at all."""
    return repository is not None and repository["full_name"] == os.environ["GITHUB_REPOSITORY"]


def _is_mine(row: dict[str, Any], marker: str) -> bool:
    author = (row["user"] or {}).get("login")
    return author == os.environ["AUTHOR"] and (row["body"] or "").partition("\n")[0] == marker


def _rows(path: str, key: str | None = None) -> Iterator[dict[str, Any]]:
    """All rows of a list, page after page; some lists are below a key."""
    number, more = 0, "&" if "?" in path else "?"
    while True:
        number += 1
        page = _call("GET", f"{path}{more}per_page={PAGE}&page={number}")
        rows = page if key is None else page[key]
        yield from rows
        if len(rows) < PAGE:
            return


class _KeepToken(urllib.request.HTTPRedirectHandler):
    """Follows a redirection, to another origin without the token."""

    def redirect_request(self, *given: Any) -> urllib.request.Request | None:
        request = super().redirect_request(*given)
        if request is not None and _origin_of(request.full_url) != _origin_of(given[0].full_url):
            request.remove_header("Authorization")
        return request


def _origin_of(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


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
            with urllib.request.build_opener(_KeepToken).open(request, timeout=60) as answer:
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
