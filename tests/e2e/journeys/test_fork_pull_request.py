"""A pull request from a fork on a fresh runner, with no secret at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e.revisions.conftest import Repository
from git_repositories import git
from in_process import run
from installed import run as run_installed


@pytest.fixture
def runner(unapplied: Repository, tmp_path: Path) -> Path:
    """A clone as a runner has it: the fork's branch checked out, `origin/main` beside it."""
    unapplied.place.edit("manifests/plugin.yaml", "Finds things", "Finds <b>`@everyone`</b>")
    unapplied.place.edit("synapse-apply.yaml", '"tenant": "acme"', '"tenant": "evil"')
    unapplied.commit("from a fork")
    git(tmp_path, "clone", "-q", "-b", "change", str(unapplied.root), "runner")
    return tmp_path / "runner"


def test_what_a_reviewer_sees(runner: Path, tmp_path: Path) -> None:
    """Findings, a labelled summary and outputs; the checkout is as it was."""
    given = {
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        "GITHUB_WORKSPACE": str(runner),
    }
    base = "git:origin/main"
    checked = run(f"validate --project-from {base} --report github", runner, given)
    assert "targets.prod.tenant: the plan uses the settings of origin/main" in checked.stderr
    assert "::warning file=synapse-apply.yaml,line=1" in checked.stderr
    (tmp_path / "summary").unlink()
    (tmp_path / "outputs").unlink()
    done = run_installed(
        f"plan --offline --against {base} --report github --detailed-exitcode",
        runner, given, code=2,
    )  # fmt: skip
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in done.stdout
    summary = (tmp_path / "summary").read_text()
    assert summary.splitlines()[2].startswith("## Plan for `prod` against `git:origin/main (")
    assert summary.splitlines()[2].endswith(", without querying the backend")
    outputs = (tmp_path / "outputs").read_text()
    assert "has_changes" in outputs
    assert git(runner, "status", "--porcelain", "--ignored") == ""


def test_a_shallow_clone_is_told_what_it_lacks(runner: Path, tmp_path: Path) -> None:
    """The usual mistake of a workflow: the base was never fetched."""
    url = f"file://{runner}"
    git(tmp_path, "clone", "-q", "--depth", "1", "--single-branch", "-b", "change", url, "shallow")
    for options in ("--offline --against git:origin/main", "--project-from git:origin/main"):
        done = run(f"plan {options}", tmp_path / "shallow", {}, code=1)
        assert "'origin/main' names no commit here." in done.stderr
        assert "fetch-depth: 0" in done.stderr


def test_an_inventory_in_place_of_a_base(runner: Path) -> None:
    """A checkout without history is compared with what the pipeline left as an artefact."""
    (runner / ".git").rename(runner / "gone")
    (runner / "inventory.yaml").write_text(
        "inventory:\n  - address: plugin/yolo\n    id: 7\n"
        f"  - address: release/yolo@0.9.0\n    id: 3\n    digest: pkg1:sha256:{'0' * 64}\n"
    )
    done = run("plan --offline --against state:inventory.yaml", runner, {})
    assert "# release/yolo@1.0.0 will be created" in done.stdout
    assert "plugin/yolo" not in done.stdout.replace("plugins/yolo", "")
    assert "yolo@0.9.0" not in done.stdout
    assert "Plan: 2 to add, 0 to change, 0 to destroy." in done.stdout
