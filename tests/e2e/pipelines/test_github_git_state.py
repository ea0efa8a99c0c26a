"""The workflows of examples/github-actions-git-state: runners that keep nothing between two jobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.pipelines.actions import read_artifact
from e2e.pipelines.conftest import BACKEND, KEY, World, make_world
from e2e.pipelines.forge import Forge, make_pull, make_run
from git_repositories import git
from in_process import run
from installed import ROOT, variables

SECRETS = {
    **variables(ROOT / "examples" / "github-actions-git-state" / "example.env"),
    "SYNAPSE_PROD_TOKEN": BACKEND,
    "SYNAPSE_APPLY_STATE_KEY_PROD": KEY,
}
REF = "refs/synapse-apply/state/prod"


@pytest.fixture
def world(tmp_path: Path, forge: Forge, interpreter: Path) -> Iterator[World]:
    with make_world(tmp_path, forge, "github-actions-git-state", interpreter) as world:
        # A person has made the state from a clone, and applied what there was.
        run("state init -t prod", world.checkout, SECRETS)
        run("apply -t prod --auto-approve", world.checkout, SECRETS)
        yield world


def on_fresh_runner(world: World, sha: str, job: str, workflow: str, run_id: str) -> str:
    """Run a job on a clone that nobody had before, as `main` then; its log."""
    shutil.rmtree(world.checkout)
    git(world.root, "clone", "-q", "--no-single-branch", f"file://{world.origin}", "checkout")
    git(world.checkout, "checkout", "-q", "--detach", sha)
    runner = world.runner(sha, run_id=run_id)
    runner.secrets = SECRETS
    done = runner.job(workflow, job)
    assert done.ok, done.log
    return done.log


def test_a_merge_is_applied_by_a_runner_that_keeps_nothing(world: World) -> None:
    """Planned by one runner, applied by another; the state is in the repository alone."""
    plugin = world.checkout / "manifests" / "plugin.yaml"
    plugin.write_text(plugin.read_text().replace("scratches and dents", "scratches"))
    git(world.checkout, "checkout", "-q", "-b", "change")
    head = world.commit("change")
    before = git(world.origin, "rev-parse", REF)
    on_fresh_runner(world, head, "check", "plan.yml", "4")
    assert "1 to change" in on_fresh_runner(world, head, "plan", "plan.yml", "5")
    assert git(world.origin, "rev-parse", REF) == before
    (comment,) = world.forge.by_bot()
    assert "scratches" in comment

    for name, text in {"user.name": "t", "user.email": "t@example.org"}.items():
        git(world.checkout, "config", name, text)
    git(world.checkout, "branch", "change", head)
    sha = world.merge()
    world.forge.pulls[sha] = [make_pull(7, head, sha)]
    world.forge.runs.append(make_run(5, head, path=".github/workflows/plan.yml"))
    data = read_artifact(world.root, "5", "prod-plan-7")
    world.forge.keep_artifact(5, 500, "prod-plan-7", data)
    log = on_fresh_runner(world, sha, "apply", "apply.yml", "6")
    assert "Apply complete! Resources: 0 added, 1 changed, 0 destroyed." in log
    assert world.objects("plugin")[0]["body"]["description"] == "Finds scratches."
    pushes = git(world.origin, "rev-list", f"{before}..{REF}").splitlines()
    assert 1 < len(pushes) <= 4
    assert git(world.checkout, "status", "--porcelain") == ""
