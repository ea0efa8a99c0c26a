"""The row of doctor that says which Git repository answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from git_repositories import commit, git, read_head
from unit.packages.trees import write

from synapse_apply.model.report import CheckResult, CheckStatus
from synapse_apply.operations.doctor import run_all_checks
from synapse_apply.workspace.invocation import Invocation


def row(folder: Path) -> CheckResult:
    checkup = run_all_checks(Invocation(folder, environ={}))
    return next(each for each in checkup.results if each.check == "repository")


def test_no_repository(tmp_path: Path) -> None:
    """Which nothing is wrong with."""
    found = row(tmp_path)
    assert (found.status, found.summary) == (CheckStatus.OK, "no Git repository here or above")


def test_its_top_its_commit_and_the_place_in_it(tmp_path: Path) -> None:
    """The whole path: which of several checkouts it is may be the question."""
    git(tmp_path, "init", "-q")
    assert row(tmp_path).summary == f"{tmp_path}, no commit yet"
    write(tmp_path, {"deploy/prod/a": "x"})
    commit(tmp_path)
    head = read_head(tmp_path)[:7]
    assert row(tmp_path).summary == f"{tmp_path} at {head}"
    found = row(tmp_path / "deploy" / "prod")
    assert found.summary == f"{tmp_path} at {head}, the project is in deploy/prod"


def test_a_shallow_clone(tmp_path: Path) -> None:
    """The usual reason why a base is not there."""
    for number in (1, 2):
        write(tmp_path / "one", {"a": f"{number}"})
        commit(tmp_path / "one")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{tmp_path / 'one'}", "two")
    assert row(tmp_path / "two").summary.endswith(", a shallow clone, which lacks older commits")


def test_one_that_is_not_believed_is_a_warning(tmp_path: Path) -> None:
    """A target that names no Git ref does well without."""
    write(tmp_path, {".git": "gitdir: /nowhere\n"})
    found = row(tmp_path)
    assert found.status is CheckStatus.WARNING
    assert "names /nowhere, which is no Git folder" in found.detail


def test_a_machine_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told where there is a repository, and no defect of ours."""
    git(tmp_path, "init", "-q")
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    found = row(tmp_path)
    assert (found.status, found.summary) == (CheckStatus.WARNING, "Git cannot be started")
