"""The hooks of pre-commit, by their entries, in a repository that is about to be committed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from git_repositories import commit, git
from in_process import run
from installed import ROOT, copied

START = ["python", "-I", "-m", "synapse_apply"]
HOOKS = {
    hook["id"]: [*shlex.split(hook["entry"])[len(START) :], *hook.get("args", [])]
    for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The gitops example, committed."""
    folder = copied(ROOT / "examples" / "gitops", tmp_path)
    commit(folder, "first", with_ignored=False)
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


def test_the_first_commit_and_a_repair_pass(repository: Path) -> None:
    """With nothing to compare with, the plan is shown and no commit is kept back."""
    words = " ".join(HOOKS["synapse-apply-plan"])
    git(repository, "checkout", "-q", "--orphan", "first")
    assert "(no commit yet), without querying the backend" in run(words, repository, {}).stdout
    file = repository / "manifests" / "storages.yaml"
    right = file.read_text()
    file.write_text(right.replace("category", "categry"))
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "broken")
    file.write_text(right)
    ran = run(words, repository, {})
    assert "Not compared with git:HEAD" in ran.stdout
    assert "HEAD:manifests/storages.yaml:8:3" in ran.stderr + ran.stdout


def test_which_target_is_said_where_a_hook_is_set_up(repository: Path) -> None:
    """With several targets and no default, the error names the line of pre-commit's file."""
    words = " ".join(HOOKS["synapse-apply-plan"])
    file = repository / "synapse-apply.yaml"
    lines = [line for line in file.read_text().splitlines() if "default_target" not in line]
    file.write_text("\n".join([*lines, ""]))
    ran = run(words, repository, {"PRE_COMMIT": "1"}, code=1)
    assert "`args: [--against, git:HEAD, -t, NAME]`" in ran.stderr
    assert "prod" in ran.stderr
    assert ".pre-commit-config" not in run(words, repository, {}, code=1).stderr
    run(f"{words} -t prod", repository, {"PRE_COMMIT": "1"})
