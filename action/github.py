"""What action.yml asks GitHub for: the plans that were reviewed, and comments that stay one each.

Standard library only. Everything it is told comes by the environment.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

PAGE = 100
ODD_ANSWER = (ValueError, LookupError, TypeError, AttributeError, http.client.HTTPException)
# Among the RuntimeErrors are those of encrypted entries and of unknown features.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
PLAN = "saved.plan"
MOST_MERGES, MOST_COMMITS = 20, 200
NOWHERE = "0"
# A saved plan is packed already: what unpacks to much more than it takes is built to burst.
BURSTING, BURSTING_FROM = 200, 16 * 1024**2
CHUNK, MOST_DIRECTORY = 1024**2, 8 * 1024**2


class UnreviewedCommit(Exception):
    """There is no plan that counts for a commit, or for a push; the text says why."""

    title = "No plan was reviewed for this commit"
    hint = "Merge a pull request whose plan succeeded, or apply by hand."


class TooManyMerges(UnreviewedCommit):
    """A push merged more than are applied as one."""

    title = "This push has too many merges"
    hint = "Apply the plan of each by hand, oldest first, and let fewer be merged at a time."


# The forge is asked by this script and not by the command: a comment and an artifact belong to the
# pipeline, with its token; the command writes files. No library, and neither curl nor jq, because
# only the Python that the command needs is certain to be there.
def main(what: str) -> int:
    """Do one of the two; gives the exit code."""
    return {"comment": comment, "reviewed": reviewed}[what]()


def comment() -> int:
    """Write FILE as the comment of each of NUMBER that AUTHOR wrote before, or as a new one.

    They are the same when they begin with the same line, a hidden marker. Comments of others are
    left alone. What cannot be written is a warning: a report never changes an outcome.
    """
    file = Path(os.environ["FILE"])
    if not file.is_file():
        return 0
    body = file.read_text(encoding="utf-8")
    for number in os.environ["NUMBER"].split():
        try:
            _write_comment(int(number), body)
        except (OSError, *ODD_ANSWER) as problem:
            needs = "It needs `pull-requests: write`, which pull requests from forks never have."
            _tell("warning", "The comment could not be written", f"{problem}. {needs}")
    return 0


def _write_comment(number: int, body: str) -> None:
    marker = body.partition("\n")[0]
    issue = f"issues/{number}/comments"
    mine = next((row["id"] for row in _rows(issue) if _is_mine(row, marker)), None)
    if mine is None:
        _call("POST", issue, {"body": body})
    else:
        _call("PATCH", f"issues/comments/{mine}", {"body": body})


def reviewed() -> int:
    """Fetch the plans of all pull requests that the push of BEFORE to GITHUB_SHA merged.

    They go to FOLDER, named so that the oldest merge is first; `numbers` is an output. A plan is
    looked up by its pull request: the artifact has its number in its name, and is of a run of the
    last commit of its branch. A commit alone says too little, since several pull requests, also
    to other branches, may have one head.
    """
    workflow, name = os.environ["WORKFLOW"], os.environ["ARTIFACT"]
    try:
        plans = _find_plans(workflow, name)
        folder = Path(os.environ["FOLDER"])
        folder.mkdir(parents=True)
        for place, plan in enumerate(plans, 1):
            _fetch_plan(plan, folder / f"{place:02}-pull-request-{plan['number']}.plan")
    except UnreviewedCommit as problem:
        _tell("error", problem.title, f"{problem} Nothing was applied. {problem.hint}")
        return 1
    except (OSError, *ODD_ANSWER, *DAMAGED) as problem:
        needs = "It needs `actions: read`, `contents: read` and `pull-requests: read`."
        _tell("error", "The plan that was reviewed cannot be looked up", f"{problem!r}. {needs}")
        return 1
    numbers = " ".join(str(plan["number"]) for plan in plans)
    sys.stdout.write(f"Plans that were reviewed, older merges first: {numbers}\n")
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as outputs:
        outputs.write(f"numbers={numbers}\n")
    return 0


def _find_plans(workflow: str, name: str) -> list[dict[str, Any]]:
    """The plans of the merges of this push, older first.

    A merge without one is told, and its changes are refused when the others are applied: no plan
    shows them. Where no merge has one there is nothing to apply.
    """
    sha, commits = os.environ["GITHUB_SHA"], _list_commits()
    merges = [pulls for commit in commits if (pulls := _find_merged(commit))]
    if not merges:
        what = sha if len(commits) == 1 else f"one of the {len(commits)} commits up to {sha}"
        raise UnreviewedCommit(f"No pull request was merged as {what}.")
    if len(merges) > MOST_MERGES:
        raise TooManyMerges(
            f"This push merged {len(merges)} pull requests, and at most {MOST_MERGES} are applied "
            "as one."
        )
    plans, problems = [], []
    for pulls in merges:
        try:
            plans.append(_find_only_plan(pulls, workflow, name))
        except UnreviewedCommit as problem:
            problems.append(str(problem))
    if not plans:
        raise UnreviewedCommit(" ".join(problems))
    for problem in problems:
        rest = "What it changes is refused; the other merges of this push go on."
        _tell("warning", "A merge of this push has no plan", f"{problem} {rest}")
    return plans


# By first parents: each of these commits was a state of the branch, and a commit that came in by
# a merge was none. Where they do not lead back to BEFORE, the last commit counts alone: a guess
# could take a plan for reviewed that this push did not merge.
def _list_commits() -> list[str]:
    """The commits that this push put on the branch, each on top of the one before it.

    Where the push did not go on from BEFORE it cannot be said what it merged: then it is the last
    commit alone, and a warning.
    """
    before, sha = os.environ["BEFORE"], os.environ["GITHUB_SHA"]
    if not before:  # not started by a push
        return [sha]
    if not before.strip(NOWHERE):
        return _only_the_last(sha, "The push made this branch or tag.")
    pair = f"{quote(before, safe='')}...{quote(sha, safe='')}"
    try:
        total = int(_call("GET", f"compare/{pair}?per_page=1")["total_commits"])
        if total > PAGE * 10:
            return _only_the_last(sha, f"The push has {total} commits, too many to look through.")
        rows = list(_rows(f"compare/{pair}", "commits"))
    except urllib.error.HTTPError as problem:
        if problem.code != 404:
            raise
        why = f"The push cannot be compared with {before}, where the branch was."
        return _only_the_last(sha, f"{why} That needs `contents: read`.")
    parents = {str(row["sha"]): [str(parent["sha"]) for parent in row["parents"]] for row in rows}
    commits, current = [], sha
    while current in parents:
        commits.append(current)
        current = next(iter(parents.pop(current)), "")
    if current != before:
        return _only_the_last(sha, f"The push does not go on from {before}, where the branch was.")
    if len(commits) > MOST_COMMITS:
        why = (
            f"The push put {len(commits)} commits on the branch, and {MOST_COMMITS} are looked at."
        )
        return _only_the_last(sha, why)
    return commits[::-1]


def _only_the_last(sha: str, why: str) -> list[str]:
    rest = f"Only the pull request that was merged as {sha} counts; what others changed is refused."
    _tell("warning", "Not all merges of this push were looked for", f"{why} {rest}")
    return [sha]


def _find_merged(sha: str) -> list[dict[str, Any]]:
    """The pull requests that were merged into this branch as this commit."""
    branch = os.environ["GITHUB_REF_NAME"] if os.environ["GITHUB_REF_TYPE"] == "branch" else None
    return [
        row
        for row in _rows(f"commits/{sha}/pulls")
        if row["merged_at"]
        and row["merge_commit_sha"] == sha
        and _is_here(row["base"]["repo"])
        and branch in {None, row["base"]["ref"]}
    ]


def _find_only_plan(pulls: list[dict[str, Any]], workflow: str, name: str) -> dict[str, Any]:
    """The plan of the first that has one: all have the same commits, and the same base."""
    if len({row["head"]["sha"] for row in pulls}) > 1:
        numbers = ", ".join(str(int(row["number"])) for row in pulls)
        sha = pulls[0]["merge_commit_sha"]
        raise UnreviewedCommit(f"Pull requests {numbers} were all merged as {sha}.")
    problem = None
    for pull in pulls:
        try:
            return _find_plan(pull, workflow, name)
        except UnreviewedCommit as reason:
            problem = problem or reason
    raise problem or UnreviewedCommit("No pull request was merged.")


# By the number in the artifact's name: GitHub's list of a run's pull requests is made of what has
# the same head, and is empty after some merges, so it cannot tell whose plan it was.
def _find_plan(pull: dict[str, Any], workflow: str, name: str) -> dict[str, Any]:
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
        kept = list(_rows(f"actions/runs/{int(run['id'])}/artifacts", "artifacts"))
        mine = [row for row in kept if row["name"] == f"{name}-{number}"]
        # Without any plan it may have been of this pull request, and an older one is not the last.
        if not mine and any(re.fullmatch(rf"{re.escape(name)}-\d+", row["name"]) for row in kept):
            continue
        if run["conclusion"] != "success":
            raise UnreviewedCommit(
                f"The last run of {workflow} for pull request {number} did not succeed."
            )
        # A run that was repeated has one of each attempt.
        plans = [row for row in mine if not row["expired"]]
        if not plans:
            raise UnreviewedCommit(
                f"The last run of {workflow} for pull request {number} kept no artifact "
                f"{name}-{number}, or it is gone."
            )
        newest = max(plans, key=lambda row: int(row["id"]))
        return {"number": number, "artifact": int(newest["id"]), "digest": newest.get("digest")}
    raise UnreviewedCommit(
        f"No run of {workflow} kept an artifact {name}-{number} for {head}, the last commit of "
        f"pull request {number}."
    )


class _BoundedReads(io.FileIO):
    """A zip's file, of which zipfile reads the whole directory at once."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MOST_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory has {size} bytes, of at most {MOST_DIRECTORY}")
        return super().read(size)


def _fetch_plan(plan: dict[str, Any], path: Path) -> None:
    """Write the saved plan of an artifact to a new file, and nothing else of what it holds."""
    packed = path.with_suffix(".zip")
    try:
        _call("GET", f"actions/artifacts/{plan['artifact']}/zip", read=_copier(packed))
        with packed.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if plan["digest"] not in {None, digest}:
            raise ValueError(f"artifact {plan['artifact']} is {digest}, not {plan['digest']}")
        with _BoundedReads(packed) as file, zipfile.ZipFile(file) as archive:
            entry = archive.getinfo(PLAN)
            if entry.file_size > max(BURSTING_FROM, BURSTING * entry.compress_size):
                raise ValueError(f"{PLAN} of artifact {plan['artifact']} is too large")
            with archive.open(entry) as source, path.open("xb") as target:
                shutil.copyfileobj(source, target, CHUNK)
    finally:
        packed.unlink(missing_ok=True)


def _copier(path: Path) -> Callable[[Any], None]:
    """What writes an answer to a file, from its beginning each time it is called."""

    def copy(answer: Any) -> None:
        with path.open("wb") as file:
            shutil.copyfileobj(answer, file, CHUNK)

    return copy


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


@cache  # each new one reads all certificates of the system
def _get_opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_KeepToken)


def _call(
    method: str,
    path: str,
    body: dict[str, str] | None = None,
    read: Callable[[Any], Any] = json.load,
) -> Any:
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
            with _get_opener().open(request, timeout=60) as answer:
                return read(answer)
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
