"""The plan that an apply takes for reviewed: only that of the pull request which was merged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attack.look_ups import (
    GITHUB,
    GITLAB,
    HEAD,
    MERGED,
    ask_github,
    ask_gitlab,
    keep,
    prepare_gitlab,
)
from attack.test_bounds import write_zip_of_entries
from e2e.pipelines.forge import PROJECT, Forge, make_archive, make_pipeline, make_pull, serving

ELSEWHERE = {"full_name": "stranger/vision"}


@pytest.fixture
def forge() -> Iterator[Forge]:
    with serving() as forge:
        yield forge


def refused(forge: Forge, folder: Path, why: str) -> None:
    done = ask_github(forge, folder)
    assert (done.code, done.outputs, done.plans) == (1, {}, {}), done.log
    assert why in done.log


def test_another_pull_request_with_the_same_head(forge: Forge, tmp_path: Path) -> None:
    """A newer run for the same commit, but to another branch, does not stand in."""
    forge.pulls[MERGED] = [make_pull(7, HEAD, MERGED)]
    keep(forge, 5, 7)
    keep(forge, 9, 8)
    done = ask_github(forge, tmp_path)
    assert (done.code, done.outputs) == (0, {"numbers": "7"}), done.log
    assert done.plans == {"01-pull-request-7.plan": "plan 7 of 5"}
    del forge.runs[1]
    refused(forge, tmp_path, "kept an artifact prod-plan-7")


def test_a_second_pull_request_from_the_same_branch(forge: Forge, tmp_path: Path) -> None:
    """The plan of the first, which was merged before, says nothing of the second."""
    first = make_pull(7, HEAD, "c" * 40)
    forge.pulls[MERGED] = [first, make_pull(8, HEAD, MERGED)]
    keep(forge, 5, 7)
    refused(forge, tmp_path, "pull request 8")


def test_two_pull_requests_that_were_merged_as_one_commit(forge: Forge, tmp_path: Path) -> None:
    """With one head the plan of either will do; with two heads nobody can tell which counts."""
    forge.pulls[MERGED] = [make_pull(7, HEAD, MERGED), make_pull(8, HEAD, MERGED)]
    keep(forge, 5, 8)
    assert ask_github(forge, tmp_path).plans == {"01-pull-request-8.plan": "plan 8 of 5"}
    forge.pulls[MERGED][1] = make_pull(8, "d" * 40, MERGED)
    refused(forge, tmp_path, "Pull requests 7, 8 were all merged")


RUNS = {
    "a push of the same commit to a branch": {"event": "push"},
    "pull_request_target": {"event": "pull_request_target"},
    "another workflow": {"path": ".github/workflows/mine.yml"},
    "a workflow whose name begins alike": {"path": ".github/workflows/pull-request.yml.yml"},
    "a fork": {"head_repository": ELSEWHERE},
    "a fork that was removed": {"head_repository": None},
    "another repository": {"repository": ELSEWHERE},
    "another commit": {"head_sha": "e" * 40},
}


@pytest.mark.parametrize("which", RUNS)
def test_an_artifact_of_another_run(which: str, forge: Forge, tmp_path: Path) -> None:
    """An artifact of the right name counts only from a run for this pull request's branch."""
    forge.pulls[MERGED] = [make_pull(7, HEAD, MERGED)]
    keep(forge, 5, 7, **RUNS[which])
    forge.answer_all_runs = True
    refused(forge, tmp_path, "No run of pull-request.yml")


PULLS = {
    "of a fork": {"head": {"sha": HEAD, "repo": ELSEWHERE}},
    "of a fork that was removed": {"head": {"sha": HEAD, "repo": None}},
    "into another branch": {"base": {"ref": "release", "repo": {"full_name": PROJECT}}},
    "of another repository": {"base": {"ref": "main", "repo": ELSEWHERE}},
    "that was closed": {"merged_at": None},
    "that was merged as another commit": {"merge_commit_sha": "f" * 40},
}


@pytest.mark.parametrize("which", PULLS)
def test_a_pull_request_that_does_not_count(which: str, forge: Forge, tmp_path: Path) -> None:
    """Only one of this repository, merged into the branch that is deployed, as this commit."""
    forge.pulls[MERGED] = [{**make_pull(7, HEAD, MERGED), **PULLS[which]}]
    keep(forge, 5, 7)
    refused(forge, tmp_path, "No plan was reviewed for this commit")


def test_a_run_that_was_repeated(forge: Forge, tmp_path: Path) -> None:
    """The last attempt's artifact is taken; where that attempt failed, none is."""
    forge.pulls[MERGED] = [make_pull(7, HEAD, MERGED)]
    keep(forge, 5, 7)
    forge.keep_artifact(5, 900, "prod-plan-7", make_archive({"saved.plan": b"the second"}))
    assert list(ask_github(forge, tmp_path).plans.values()) == ["the second"]
    forge.runs[0]["conclusion"] = "failure"
    refused(forge, tmp_path, "did not succeed")
    forge.runs[0]["conclusion"] = None
    refused(forge, tmp_path, "did not succeed")


def test_an_artifact_of_very_many_entries(forge: Forge, tmp_path: Path) -> None:
    """Its list is not read: it would take the memory of the runner."""
    forge.pulls[MERGED] = [make_pull(7, HEAD, MERGED)]
    keep(forge, 5, 7)
    write_zip_of_entries(tmp_path / "many.zip", 200_000, b"%x", b"saved.plan")
    forge.keep_artifact(5, 900, "prod-plan-7", (tmp_path / "many.zip").read_bytes())
    refused(forge, tmp_path, "cannot be looked up")
    refused(forge, tmp_path, "its directory has")


def test_an_older_run_than_one_that_failed(forge: Forge, tmp_path: Path) -> None:
    """The plan of before does not stand in for a newer one that ended otherwise, or that expired."""
    forge.pulls[MERGED] = [make_pull(7, HEAD, MERGED)]
    keep(forge, 5, 7)
    keep(forge, 6, 7, conclusion="failure")
    refused(forge, tmp_path, "did not succeed")
    del forge.artifacts["6"]  # it failed before it made a plan, or somebody deleted it
    refused(forge, tmp_path, "did not succeed")
    forge.runs[0]["conclusion"] = "success"
    refused(forge, tmp_path, "is gone")
    forge.runs.pop(0)
    forge.artifacts["5"][0]["expired"] = True
    refused(forge, tmp_path, "is gone")


@pytest.mark.parametrize("answer", ["nothing", "a page", "a text for a number", "another shape"])
def test_an_odd_answer(answer: str, forge: Forge, tmp_path: Path) -> None:
    """What a forge should never say ends in an error and no outputs, not in a traceback."""
    pull = make_pull(7, HEAD, MERGED)
    forge.pulls[MERGED] = {
        "nothing": [{}],
        "a page": b"<html>",
        "a text for a number": [{**pull, "number": "7\nrun=1"}],
        "another shape": [{**pull, "head": "main"}],
    }[answer]  # type: ignore[assignment]
    keep(forge, 5, 7)
    refused(forge, tmp_path, "cannot be looked up")


@pytest.mark.parametrize("script", [GITHUB, GITLAB], ids=["github", "gitlab"])
def test_a_redirection_elsewhere_gets_no_token(script: Path, forge: Forge, tmp_path: Path) -> None:
    """It is followed, as to where artifacts are stored, but the token stays."""
    with serving() as other:
        paths = (
            f"/repos/{PROJECT}/commits/{MERGED}/pulls?per_page=100&page=1",
            f"/projects/42/repository/commits/{MERGED}/merge_requests?per_page=100&page=1",
        )
        forge.moved = {path: f"{other.url}{path}" for path in paths}
        done = (ask_github if script == GITHUB else ask_gitlab)(forge, tmp_path)
        assert done.code == 1
        assert len(other.seen) == 1
        assert "401" in done.log


PIPELINES = {
    "of a push of the same commit": {"source": "push", "ref": "topic"},
    "of a commit before the last": {"sha": "e" * 40},
    "of a fork": {"project_id": 99},
    "of another merge request": {"ref": "refs/merge-requests/8/head"},
    "of merged results of a commit before": {"ref": "refs/merge-requests/7/merge"},
    "that was started by hand": {"source": "web"},
}


@pytest.mark.parametrize("which", PIPELINES)
def test_a_pipeline_that_does_not_count(which: str, forge: Forge, tmp_path: Path) -> None:
    """The newer pipeline is passed over, also where GitLab calls it the head's; else none counts."""
    other = {**make_pipeline(9, 7, HEAD), **PIPELINES[which]}
    prepare_gitlab(forge, other, make_pipeline(5, 7, HEAD), head_pipeline={"id": 5})
    done = ask_gitlab(forge, tmp_path)
    assert done.code == 0, done.log
    assert done.plans == {"01-merge-request-7.plan": "plan 5"}
    prepare_gitlab(forge, other, head_pipeline={"id": 5})
    done = ask_gitlab(forge, tmp_path)
    assert (done.code, done.plans) == (1, {})
    assert "did not succeed for merge request !7" in done.log


def test_an_older_pipeline_than_one_that_failed(forge: Forge, tmp_path: Path) -> None:
    """The newest pipeline of the last commit is the one that was looked at."""
    prepare_gitlab(forge, make_pipeline(9, 7, HEAD), make_pipeline(5, 7, HEAD))
    forge.unplanned = {"9"}
    done = ask_gitlab(forge, tmp_path)
    assert done.code == 1
    assert "did not succeed" in done.log


REQUESTS = {
    "of a fork": {"source_project_id": 99},
    "into another branch": {"target_branch": "release"},
    "of another project": {"target_project_id": 99},
    "that was closed": {"state": "closed"},
    "that was merged as another commit": {"merge_commit_sha": "f" * 40},
}


@pytest.mark.parametrize("which", REQUESTS)
def test_a_merge_request_that_does_not_count(which: str, forge: Forge, tmp_path: Path) -> None:
    """Only one of this project, merged into the branch that is deployed, as this commit."""
    prepare_gitlab(forge, make_pipeline(5, 7, HEAD), **REQUESTS[which])
    done = ask_gitlab(forge, tmp_path)
    assert done.code == 1
    assert "No plan was reviewed for this commit" in done.log


def test_the_pipeline_of_merged_results(forge: Forge, tmp_path: Path) -> None:
    """It has a commit of its own; it counts where GitLab says that it is the last commit's."""
    one = make_pipeline(5, 7, "e" * 40, ref="refs/merge-requests/7/merge")
    prepare_gitlab(forge, one, head_pipeline={"id": 5})
    assert ask_gitlab(forge, tmp_path).code == 0
