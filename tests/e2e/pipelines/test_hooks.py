"""The hooks of pre-commit, by their entries, in a repository that is about to be committed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from installed import ROOT, copied, run
from unit.packages.trees import git

HOOKS = {
    hook["id"]: [*shlex.split(hook["entry"])[1:], *hook.get("args", [])]
    for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The gitops example, committed."""
    folder = copied(ROOT / "examples" / "gitops", tmp_path)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def test_a_finding_keeps_a_commit_back(repository: Path) -> None:
    """validate passes what is right and refuses what is not, with the place."""
    words = " ".join(HOOKS["synapse-apply-validate"])
    assert run(f"{words} --strict", repository, {}).stdout.startswith("Valid: ")
    file = repository / "manifests" / "storages.yaml"
    file.write_text(file.read_text().replace("category", "categry"))
    assert "manifests/storages.yaml:8:3" in run(words, repository, {}, code=1).stderr


def test_what_a_commit_means_is_shown(repository: Path) -> None:
    """plan compares with the last commit, code of plugins included, and lets it pass."""
    words = " ".join(HOOKS["synapse-apply-plan"])
    assert "No changes." in run(words, repository, {}).stdout
    code = repository / "plugins" / "defect-detection" / "plugin" / "detect.py"
    code.write_text(code.read_text() + "\n# faster\n")
    assert "has unreleased changes" in run(words, repository, {}).stdout
    assert git(repository, "status", "--porcelain") == f"M {code.relative_to(repository)}"
