"""The row of doctor that says which Git repository answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from git_repositories import git
from unit.packages.trees import write

from synapse_apply import open_target


def row(folder: Path) -> tuple[str, str, str]:
    """Its status, summary and detail."""
    with open_target(folder=folder, environ={}) as target:
        rows = target.diagnose().results
    (found,) = (each for each in rows if each.check == "repository")
    return found.status.value, found.summary, found.detail


def test_no_repository(tmp_path: Path) -> None:
    """Which nothing is wrong with."""
    assert row(tmp_path)[:2] == ("ok", "no Git repository in this folder or above")


def test_one_that_is_not_believed_is_a_warning(tmp_path: Path) -> None:
    """A target that names no Git ref does well without."""
    write(tmp_path, {".git": "gitdir: /nowhere\n"})
    status, _, detail = row(tmp_path)
    assert status == "warning"
    assert "names /nowhere, which is not a Git folder" in detail


def test_a_machine_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told where there is a repository, and no defect of ours."""
    git(tmp_path, "init", "-q")
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert row(tmp_path)[:2] == ("warning", "Git cannot be started")
