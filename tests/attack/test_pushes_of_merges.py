"""A push of several merges: which plans count, and what a push that tells too little comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attack.look_ups import LookUp, ask_github, ask_gitlab, keep, merge_on_gitlab
from e2e.pipelines.forge import PROJECT, Forge, make_archive, make_pull, serving

BEFORE, FIRST, SECOND, LAST, ASIDE = (letter * 40 for letter in "12345")
HEADS = {number: f"{number:040x}" for number in range(1, 60)}


@pytest.fixture
def forge() -> Iterator[Forge]:
    """A branch of four commits; the last is a merge of `ASIDE`, which came off at the first."""
    with serving() as forge:
        forge.add_commits(BEFORE, FIRST, SECOND, LAST)
        forge.parents[ASIDE] = [BEFORE]
        forge.parents[LAST].append(ASIDE)
        yield forge


def merge_on_github(forge: Forge, number: int, head: str, merged: str, /, **more: Any) -> None:
    """A pull request with a plan, merged as this commit."""
    forge.pulls.setdefault(merged, []).append({**make_pull(number, head, merged), **more})
    keep(forge, number, number, head=head)


Merge = Callable[..., None]
Ask = Callable[..., LookUp]
FORGES = {"github": (merge_on_github, ask_github), "gitlab": (merge_on_gitlab, ask_gitlab)}


@pytest.fixture(params=FORGES)
def scripts(request: pytest.FixtureRequest) -> tuple[Merge, Ask]:
    return FORGES[request.param]


def numbers_of(done: LookUp) -> list[int]:
    """The requests whose plans were fetched, in the order in which they are applied."""
    return [int(name.removesuffix(".plan").rpartition("-")[2]) for name in sorted(done.plans)]


def test_all_merges_of_a_push(forge: Forge, tmp_path: Path, scripts: tuple[Merge, Ask]) -> None:
    """In the order of the merges, whatever their numbers."""
    merge, ask = scripts
    for number, commit in {9: FIRST, 3: SECOND, 12: LAST}.items():
        merge(forge, number, HEADS[number], commit)
    done = ask(forge, tmp_path, before=BEFORE, sha=LAST)
    assert (done.code, numbers_of(done)) == (0, [9, 3, 12]), done.log
    assert "arning" not in done.log


def test_a_merge_of_an_earlier_push(
    forge: Forge, tmp_path: Path, scripts: tuple[Merge, Ask]
) -> None:
    """Its plan had its apply: neither that of where the branch was, nor one from before."""
    merge, ask = scripts
    merge(forge, 7, HEADS[7], BEFORE)
    merge(forge, 8, HEADS[8], FIRST)
    merge(forge, 9, HEADS[9], LAST)
    done = ask(forge, tmp_path, before=FIRST, sha=LAST)
    assert (done.code, numbers_of(done)) == (0, [9]), done.log
    done = ask(forge, tmp_path, before=FIRST, sha=SECOND)
    assert (done.code, done.plans) == (1, {})
    assert "No plan was reviewed for this commit" in done.log


def test_a_merge_into_what_was_merged(
    forge: Forge, tmp_path: Path, scripts: tuple[Merge, Ask]
) -> None:
    """A commit of the branch that came in by a merge was no state of this branch."""
    merge, ask = scripts
    merge(forge, 7, HEADS[7], ASIDE)
    merge(forge, 9, HEADS[9], LAST)
    done = ask(forge, tmp_path, before=BEFORE, sha=LAST)
    assert (done.code, numbers_of(done)) == (0, [9]), done.log


ELSEWHERE = {"full_name": "stranger/vision"}
NOT_MERGED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "that is open": ({"merged_at": None}, {"state": "opened"}),
    "into another branch": (
        {"base": {"ref": "release", "repo": {"full_name": PROJECT}}},
        {"target_branch": "release"},
    ),
    "of another repository": (
        {"base": {"ref": "main", "repo": ELSEWHERE}},
        {"target_project_id": 99},
    ),
    "that was merged as another commit": (
        {"merge_commit_sha": "f" * 40},
        {"merge_commit_sha": "f" * 40},
    ),
}


@pytest.mark.parametrize("which", NOT_MERGED)
def test_a_request_that_this_push_did_not_merge(
    which: str, forge: Forge, tmp_path: Path, scripts: tuple[Merge, Ask]
) -> None:
    """The forge lists it for a commit of the push; its plan does not come along with the others."""
    merge, ask = scripts
    more = NOT_MERGED[which][merge is merge_on_gitlab]
    merge(forge, 7, HEADS[7], FIRST, **more)
    merge(forge, 8, HEADS[8], SECOND)
    done = ask(forge, tmp_path, before=BEFORE, sha=LAST)
    assert (done.code, numbers_of(done)) == (0, [8]), done.log


FORKS: list[dict[str, Any]] = [
    {"head": {"sha": HEADS[7], "repo": ELSEWHERE}},
    {"source_project_id": 99},
]


def test_a_merge_without_a_plan(forge: Forge, tmp_path: Path, scripts: tuple[Merge, Ask]) -> None:
    """Of a fork, or not planned: it is told, by its number, and the others go on."""
    merge, ask = scripts
    merge(forge, 7, HEADS[7], FIRST, **FORKS[merge is merge_on_gitlab])
    merge(forge, 8, HEADS[8], SECOND)
    merge(forge, 9, HEADS[9], LAST)
    forge.runs = [run for run in forge.runs if run["id"] != 8]
    forge.unplanned = {"80"}
    done = ask(forge, tmp_path, before=BEFORE, sha=LAST)
    assert (done.code, numbers_of(done)) == (0, [9]), done.log
    assert done.log.count("A merge of this push has no plan") == 2
    assert "7 came from a fork" in done.log
    assert done.log.count("What it changes is refused") == 2
    forge.runs.clear()
    forge.unplanned.add("90")
    done = ask(forge, tmp_path, before=BEFORE, sha=LAST)
    assert (done.code, done.plans) == (1, {})
    assert "Nothing was applied." in done.log


PUSHES = {
    "a new branch": ("0" * 40, "The push made this branch"),
    "a commit that is gone": ("e" * 40, "cannot be compared with"),
    "a force-push back and on": (ASIDE, "does not go on from"),
    "a force-push to elsewhere": ("d" * 40, "does not go on from"),
}


@pytest.mark.parametrize("which", PUSHES)
def test_a_push_that_does_not_go_on(
    which: str, forge: Forge, tmp_path: Path, scripts: tuple[Merge, Ask]
) -> None:
    """Only the merge that the branch is at now counts, and a warning says so."""
    merge, ask = scripts
    before, why = PUSHES[which]
    forge.parents["d" * 40] = [FIRST]
    merge(forge, 7, HEADS[7], SECOND)
    merge(forge, 8, HEADS[8], LAST)
    done = ask(forge, tmp_path, before=before, sha=LAST)
    assert (done.code, numbers_of(done)) == (0, [8]), done.log
    assert "Not all merges of this push were looked for" in done.log
    assert why in done.log
    assert f"merged as {LAST} counts; what others changed is refused" in done.log


def test_a_push_back(forge: Forge, tmp_path: Path, scripts: tuple[Merge, Ask]) -> None:
    """A force-push to an older merge: that one's plan alone, whose rows must still be due."""
    merge, ask = scripts
    merge(forge, 7, HEADS[7], FIRST)
    merge(forge, 8, HEADS[8], LAST)
    done = ask(forge, tmp_path, before=LAST, sha=FIRST)
    assert (done.code, numbers_of(done)) == (0, [7]), done.log
    assert "does not go on from" in done.log


@pytest.mark.parametrize(("merges", "code"), [(20, 0), (21, 1)])
def test_many_merges(
    merges: int, code: int, forge: Forge, tmp_path: Path, scripts: tuple[Merge, Ask]
) -> None:
    """Twenty are applied as one; more are a plain error, before anything is fetched."""
    merge, ask = scripts
    commits = [f"c{number:039}" for number in range(merges)]
    forge.add_commits(BEFORE, *commits)
    for number, commit in enumerate(commits, 1):
        merge(forge, number, HEADS[number], commit)
    done = ask(forge, tmp_path, before=BEFORE, sha=commits[-1])
    assert (done.code, len(done.plans)) == (code, 0 if code else merges), done.log
    if code:
        assert "This push merged 21 " in done.log
        assert "at most 20 are applied as one" in done.log
        assert "This push has too many merges" in done.log
        assert "Apply the plan of each by hand, oldest first" in done.log
        assert not any("artifacts" in call for call in forge.seen)
    else:
        assert numbers_of(done) == list(range(1, 21))


def test_many_commits(forge: Forge, tmp_path: Path, scripts: tuple[Merge, Ask]) -> None:
    """They are not all asked about, one by one: the last merge counts."""
    merge, ask = scripts
    commits = [f"c{number:039}" for number in range(201)]
    forge.add_commits(BEFORE, *commits)
    merge(forge, 7, HEADS[7], commits[0])
    merge(forge, 8, HEADS[8], commits[-1])
    done = ask(forge, tmp_path, before=BEFORE, sha=commits[-1])
    assert (done.code, numbers_of(done)) == (0, [8]), done.log
    assert "Not all merges of this push were looked for" in done.log
    assert len(forge.seen) < 20


def bursting() -> bytes:
    return make_archive({"saved.plan": bytes(64 * 1024**2)})


def encrypted() -> bytes:
    data = bytearray(make_archive({"saved.plan": b"x"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[6] |= 1
    return bytes(data)


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "that would burst": bursting,
    "that is encrypted": encrypted,
    "that is no zip": lambda: b"<html>",
    "without a plan": lambda: make_archive({"report.html": b"x"}),
    "with a plan elsewhere": lambda: make_archive({"../saved.plan": b"x", "a/saved.plan": b"x"}),
    "that is cut": lambda: make_archive({"saved.plan": b"x" * 99})[:-30],
}


@pytest.mark.parametrize("which", ARCHIVES)
def test_an_artifact_that_is_not_what_a_plan_keeps(
    which: str, forge: Forge, tmp_path: Path
) -> None:
    """An error, and none of the good ones is applied without it."""
    merge_on_github(forge, 7, HEADS[7], FIRST)
    merge_on_github(forge, 8, HEADS[8], SECOND)
    forge.artifacts["8"].clear()
    forge.keep_artifact(8, 808, "prod-plan-8", ARCHIVES[which]())
    done = ask_github(forge, tmp_path, before=BEFORE, sha=LAST)
    assert (done.code, done.outputs) == (1, {}), done.log
    assert "::error title=The plan that was reviewed cannot be looked up::" in done.log
    assert "Traceback" not in done.log


def test_an_artifact_of_another_digest(forge: Forge, tmp_path: Path) -> None:
    """What is served is not what was kept."""
    merge_on_github(forge, 8, HEADS[8], LAST)
    forge.archives["808"] = make_archive({"saved.plan": b"another"})
    done = ask_github(forge, tmp_path, before=BEFORE, sha=LAST)
    assert (done.code, done.plans) == (1, {})
    assert "artifact 808 is sha256:" in done.log


def test_other_files_of_an_artifact_stay_in_it(forge: Forge, tmp_path: Path) -> None:
    """Only the plan is taken out, so that no name in the zip becomes a path."""
    merge_on_github(forge, 8, HEADS[8], LAST)
    forge.artifacts["8"].clear()
    files = {"saved.plan": b"plan", "../../evil": b"x", "/tmp/evil": b"x", "02-9.plan": b"x"}
    forge.keep_artifact(8, 809, "prod-plan-8", make_archive(files))
    done = ask_github(forge, tmp_path, before=BEFORE, sha=LAST)
    assert done.plans == {"01-pull-request-8.plan": "plan"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs"]


def test_a_download_elsewhere_gets_no_token(forge: Forge, tmp_path: Path) -> None:
    """GitHub sends on to where artifacts are stored; that is followed, but the token stays."""
    merge_on_github(forge, 8, HEADS[8], LAST)
    with serving() as other:
        path = f"/repos/{PROJECT}/actions/artifacts/808/zip"
        forge.moved = {path: f"{other.url}{path}"}
        done = ask_github(forge, tmp_path, before=BEFORE, sha=LAST)
        assert done.code == 1
        assert len(other.seen) == 1
        assert "401" in done.log


def test_a_history_that_is_a_circle(
    forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripts: tuple[Merge, Ask]
) -> None:
    """Whatever a forge says of parents, the walk ends; the last merge counts."""
    merge, ask = scripts
    rows = {
        FIRST: [LAST],
        SECOND: [FIRST],
        LAST: [SECOND],
    }
    github = [{"sha": sha, "parents": [{"sha": one[0]}]} for sha, one in rows.items()]
    gitlab = [{"id": sha, "parent_ids": rows[sha]} for sha in (LAST, SECOND, FIRST)]
    monkeypatch.setattr(
        "e2e.pipelines.forge._compare",
        lambda *_: (200, {"total_commits": 3, "commits": github}),
    )
    monkeypatch.setattr("e2e.pipelines.forge._commits", lambda *_: (200, gitlab))
    merge(forge, 8, HEADS[8], LAST)
    done = ask(forge, tmp_path, before=BEFORE, sha=LAST)
    assert (done.code, numbers_of(done)) == (0, [8]), done.log
    assert "does not go on from" in done.log
