"""The row of doctor that says which Git repository answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from git_repositories import git
from unit.packages.trees import write

from synapse_apply import Invocation
from synapse_apply.model.report import CheckResult, CheckStatus
from synapse_apply.operations.doctor import run_all_checks


def row(folder: Path) -> CheckResult:
    checkup = run_all_checks(Invocation(folder, environ={}))
    return next(each for each in checkup.results if each.check == "repository")


def test_no_repository(tmp_path: Path) -> None:
    """Which nothing is wrong with."""
    found = row(tmp_path)
    assert (found.status, found.summary) == (
        CheckStatus.OK,
        "no Git repository in this folder or above",
    )


def test_one_that_is_not_believed_is_a_warning(tmp_path: Path) -> None:
    """A target that names no Git ref does well without."""
    write(tmp_path, {".git": "gitdir: /nowhere\n"})
    found = row(tmp_path)
    assert found.status is CheckStatus.WARNING
    assert "names /nowhere, which is not a Git folder" in found.detail


def test_a_machine_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told where there is a repository, and no defect of ours."""
    git(tmp_path, "init", "-q")
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    found = row(tmp_path)
    assert (found.status, found.summary) == (CheckStatus.WARNING, "Git cannot be started")
