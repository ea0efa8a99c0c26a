"""What .gitlab-ci.yml asks GitLab for: the plans that were reviewed, and notes that stay one each.

Standard library only. Everything it is told comes by the environment; GITLAB_API_TOKEN is a project
access token of scope `api`.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

PAGE = 100
ODD_ANSWER = (ValueError, LookupError, TypeError, AttributeError, http.client.HTTPException)
JOB, PLAN = "plan", "saved.plan"
FETCHED = "reviewed"  # a folder of REPORTS: the plans of the merges, the oldest first by name
MOST_MERGES, MOST_COMMITS = 20, 200
NOWHERE = "0"
CHUNK = 1024**2


class UnreviewedCommit(Exception):
    """There is no plan that counts for a commit, or for a push; the text says why."""

    title = "No plan was reviewed for this commit"
    hint = "Merge a request whose plan succeeded, or apply by hand."


class TooManyMerges(UnreviewedCommit):
    """A push merged more than are applied as one."""

    title = "This push has too many merges"
    hint = "Apply the plan of each by hand, oldest first, and let fewer be merged at a time."


def main(what: str) -> int:
    """Do one of the two; gives the exit code."""
    return {"comment": comment, "reviewed": reviewed}[what]()


def comment() -> int:
    """Write comment.md as the note that this token wrote before, or as a new one.

    After `reviewed` it goes to each merge request whose plan was fetched. Notes are the same when
    they begin with the same line, a hidden marker. What cannot be written is a warning: a report
    never changes an outcome.
    """
    file = Path(os.environ["REPORTS"], "comment.md")
    if not file.is_file():
        return 0
    body = file.read_text(encoding="utf-8")
    try:
        number = os.environ.get("CI_MERGE_REQUEST_IID")
        numbers = [int(number)] if number else _list_fetched()
    except ValueError as problem:
        return _warn_of_note(problem)
    for each in numbers:
        try:
            _write_note(each, body)
        except (OSError, *ODD_ANSWER) as problem:
            _warn_of_note(problem)
    return 0


def _list_fetched() -> list[int]:
    """The merge requests whose plans `reviewed` fetched."""
    files = sorted(Path(os.environ["REPORTS"], FETCHED).glob("*.plan"))
    return [int(file.stem.rpartition("-")[2]) for file in files]


def _write_note(number: int, body: str) -> None:
    me = _call("GET", "/user")["id"]
    marker = body.partition("\n")[0]
    notes = f"{_project()}/merge_requests/{number}/notes"
    mine = next((row["id"] for row in _rows(notes) if _is_mine(row, me, marker)), None)
    if mine is None:
        _call("POST", notes, {"body": body})
    else:
        _call("PUT", f"{notes}/{mine}", {"body": body})


def _warn_of_note(problem: Exception) -> int:
    sys.stderr.write(f"Warning: The note could not be written: {_words(problem)}\n")
    return 0


def reviewed() -> int:
    """Fetch the plans of all merge requests that this push merged, older ones first by name.

    A plan is looked up by its merge request: of its own pipelines, in this project, for the last
    commit of its branch. A commit alone says too little, since several merge requests may have one
    head.
    """
    try:
        jobs = _find_jobs()
        folder = Path(os.environ["REPORTS"], FETCHED)
        folder.mkdir()
        for place, (number, job) in enumerate(jobs.items(), 1):
            path = f"{_project()}/jobs/{job}/artifacts/{os.environ['REPORTS']}/{PLAN}"
            _call("GET", path, read=_copier(folder / f"{place:02}-merge-request-{number}.plan"))
    except UnreviewedCommit as problem:
        why = f"{problem} Nothing was applied. {problem.hint}"
        sys.stderr.write(f"Error: {problem.title}\n  {why}\n")
        return 1
    except (OSError, *ODD_ANSWER) as problem:
        sys.stderr.write(f"Error: The plan that was reviewed cannot be read: {_words(problem)}\n")
        return 1
    numbers = ", ".join(f"!{number}" for number in jobs)
    sys.stdout.write(f"Plans that were reviewed, older merges first: {numbers}\n")
    return 0


def _find_jobs() -> dict[int, int]:
    """The jobs that planned the merges of this push, by merge request, older first.

    A merge without one is told, and its changes are refused when the others are applied: no plan
    shows them. Where no merge has one there is nothing to apply.
    """
    sha, commits = os.environ["CI_COMMIT_SHA"], _list_commits()
    merges = [requests for commit in commits if (requests := _find_merged(commit))]
    if not merges:
        what = sha if len(commits) == 1 else f"one of the {len(commits)} commits up to {sha}"
        raise UnreviewedCommit(f"No merge request was merged as {what}.")
    if len(merges) > MOST_MERGES:
        raise TooManyMerges(
            f"This push merged {len(merges)} merge requests, and at most {MOST_MERGES} are applied "
            "as one."
        )
    jobs: dict[int, int] = {}
    problems = []
    for requests in merges:
        try:
            number, job = _find_only_job(requests)
        except UnreviewedCommit as problem:
            problems.append(str(problem))
        else:
            jobs.pop(number, None)  # of two commits that brought it the newer one counts
            jobs[number] = job
    if not jobs:
        raise UnreviewedCommit(" ".join(problems))
    for problem in problems:
        rest = "What it changes is refused; the other merges of this push go on."
        sys.stderr.write(f"Warning: A merge of this push has no plan\n  {problem} {rest}\n")
    return jobs


def _list_commits() -> list[str]:
    """The commits that this push put on the branch, each on top of the one before it.

    Where the push did not go on from CI_COMMIT_BEFORE_SHA it cannot be said what it merged: then it
    is the last commit alone, and a warning.
    """
    before, sha = os.environ["CI_COMMIT_BEFORE_SHA"], os.environ["CI_COMMIT_SHA"]
    if not before.strip(NOWHERE):
        return _only_the_last(sha, "The push made this branch, or the pipeline is of no push.")
    asked = f"ref_name={quote(f'{before}..{sha}', safe='.')}&first_parent=true"
    try:
        listed = _rows(f"{_project()}/repository/commits?{asked}")
        rows = list(itertools.islice(listed, MOST_COMMITS + 1))
    except urllib.error.HTTPError as problem:
        if problem.code != 404:
            raise
        why = f"The push cannot be compared with {before}, where the branch was."
        return _only_the_last(sha, why)
    if len(rows) > MOST_COMMITS:
        why = f"The push put more than {MOST_COMMITS} commits on the branch."
        return _only_the_last(sha, why)
    commits, current = [], sha
    for row in rows:
        if row["id"] != current:
            break
        commits.append(current)
        current = next(iter(row["parent_ids"]), "")
    if current != before:
        return _only_the_last(sha, f"The push does not go on from {before}, where the branch was.")
    return commits[::-1]


def _only_the_last(sha: str, why: str) -> list[str]:
    rest = f"Only the request that was merged as {sha} counts; what others changed is refused."
    title = "Warning: Not all merges of this push were looked for"
    sys.stderr.write(f"{title}\n  {why} {rest}\n")
    return [sha]


def _find_only_job(requests: list[dict[str, Any]]) -> tuple[int, int]:
    """The first of these merge requests whose plan counts, and its job: all have one head."""
    names = ", ".join(f"!{int(row['iid'])}" for row in requests)
    if len({row["sha"] for row in requests}) > 1:
        raise UnreviewedCommit(f"Merge requests {names} were all merged as one commit.")
    ours = [row for row in requests if str(row["source_project_id"]) == os.environ["CI_PROJECT_ID"]]
    if not ours:
        raise UnreviewedCommit(f"Merge request {names} came from a fork, which has no plan.")
    for row in ours:
        number = int(row["iid"])
        if (job := _find_plan_job(number)) is not None:
            return number, job
    raise UnreviewedCommit(f"Job `{JOB}` did not succeed for merge request {names}.")


def _find_plan_job(number: int) -> int | None:
    """The job that planned in the newest pipeline of a merge request, where it succeeded."""
    one = _call("GET", f"{_project()}/merge_requests/{number}")
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


def _find_merged(sha: str) -> list[dict[str, Any]]:
    """The merge requests that this commit is the outcome of, on this branch of this project."""
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
        page = _call("GET", f"{path}{more}per_page={PAGE}&page={number}")
        yield from page
        if len(page) < PAGE:
            return


def _copier(path: Path) -> Callable[[Any], None]:
    """What writes an answer to a file, from its beginning each time it is called."""

    def copy(answer: Any) -> None:
        with path.open("wb") as file:
            shutil.copyfileobj(answer, file, CHUNK)

    return copy


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


@cache  # each new one reads all certificates of the system
def _get_opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_KeepToken)


def _call(
    method: str,
    path: str,
    body: dict[str, str] | None = None,
    read: Callable[[Any], Any] = json.load,
) -> Any:
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
            with _get_opener().open(request, timeout=60) as answer:
                return read(answer)
        except OSError as problem:
            refused = isinstance(problem, urllib.error.HTTPError) and problem.code < 500
            if refused or not left:
                raise
            time.sleep(2)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
