"""The pipeline of examples/gitops, job by job, as a runner of GitLab runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from e2e.pipelines.conftest import World
from e2e.pipelines.forge import make_merge_request, make_pipeline
from e2e.pipelines.gitlab import Pipeline, document
from git_repositories import git, read_head

MARKER = "<!-- synapse-apply: target=prod -->"
HERE = "synapse-apply-reports"
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "gitops"
JOBS = ("check", "plan", "apply", "drift")


def base_of(world: World) -> str:
    return git(world.checkout, "merge-base", "origin/main", "HEAD")


def test_which_jobs_a_pipeline_has(fresh: World) -> None:
    """Forks are checked alone; a branch of the project is planned, main applied, a schedule drifts."""
    one = Pipeline(fresh, "0" * 40)
    assert one.merge_request("x").jobs() == ["check", "plan"]
    assert one.merge_request("x", project="99").jobs() == ["check"]
    assert one.jobs() == ["apply"]
    assert Pipeline(fresh, "0", {"CI_PIPELINE_SOURCE": "schedule"}).jobs() == ["drift"]
    assert Pipeline(fresh, "0", {"CI_COMMIT_BRANCH": "topic"}).jobs() == []


def test_a_fork_is_checked_without_any_secret(fresh: World) -> None:
    """What the change means, and the widget's files; the backend is not asked."""
    sha = fresh.change()
    done = Pipeline(fresh, sha).merge_request(base_of(fresh), "99").job("check", secrets={})
    assert done.code == 0, done.log
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in done.log
    names = ("offline.html", "findings.json", "offline.json")
    assert done.kept == [f"{HERE}/{name}" for name in names]
    counts = json.loads((fresh.checkout / HERE / "offline.json").read_text())
    assert counts == {"create": 0, "update": 1, "delete": 0}
    assert fresh.forge.seen == []


def test_a_branch_from_before_a_rule_is_checked_by_the_rule(fresh: World) -> None:
    """The target branch of now says which secrets may be read, not the one the branch is made of."""
    sha, base = fresh.change(), base_of(fresh)
    git(fresh.checkout, "checkout", "-q", "-B", "main", "origin/main")
    project = fresh.checkout / "synapse-apply.yaml"
    project.write_text(project.read_text().replace('allow_env: ["RAW_DATA_*"', 'allow_env: ["X_*"'))
    fresh.commit("main")
    git(fresh.checkout, "checkout", "-q", "change")
    done = Pipeline(fresh, sha).merge_request(base, "99").job("check", secrets={})
    assert done.code == 1, done.log
    assert "RAW_DATA_KEY_ID" in done.log


def test_a_plan_keeps_one_note(world: World) -> None:
    """The second run writes the first one's note anew, behind a page of others."""
    for number in range(105):
        world.forge.add("somebody", f"{MARKER}\n{number}")
    one = Pipeline(world, world.change()).merge_request(base_of(world)).job("plan")
    assert one.code == 0, one.log
    (note,) = world.forge.by_bot()
    assert "number" in note
    assert f"{HERE}/saved.plan" in one.kept
    two = Pipeline(world, world.change("float", "double")).merge_request(base_of(world)).job("plan")
    assert two.code == 0, two.log
    (note,) = world.forge.by_bot()
    assert "double" in note
    assert note.startswith(f"{MARKER}\n")
    world.forge.failing = [403]
    three = Pipeline(world, "0" * 40).merge_request(base_of(world)).job("plan")
    assert three.code == 0
    assert "Warning: The note could not be written: HTTP Error 403" in three.log
    assert world.types() == ["float"]


def merged(world: World, head: str, sha: str, pipeline: int | None, number: int = 7) -> None:
    """The forge knows the merge request, and its pipeline with the plan it kept, where there was one."""
    world.forge.pulls[sha] = [
        make_merge_request(6, head, squash_commit_sha="another"),
        make_merge_request(number, head, squash_commit_sha=sha),
    ]
    if pipeline is not None:
        keep_plan(world, head, pipeline, number)


def keep_plan(world: World, head: str, pipeline: int, number: int = 7) -> None:
    """GitLab has the plan that the last job made, and the checkout is clean for the next one."""
    world.forge.pipelines[number] = [make_pipeline(pipeline, number, head)]
    plan = (world.checkout / HERE / "saved.plan").read_bytes()
    world.forge.files[f"{pipeline * 10}/{HERE}/saved.plan"] = plan
    shutil.rmtree(world.checkout / HERE)


def test_a_merge_applies_what_was_reviewed(world: World) -> None:
    """Only with the merge request's plan; its outcome is a note of its own."""
    head = world.change()
    assert Pipeline(world, head).merge_request(base_of(world)).job("plan").code == 0
    sha = world.merge()
    none = Pipeline(world, sha).job("apply")
    assert none.code == 1
    assert "Error: No plan was reviewed for this commit" in none.log
    merged(world, head, sha, None)
    assert "`plan` did not succeed for merge request !7" in Pipeline(world, sha).job("apply").log
    assert world.types() == ["float"]
    before = git(world.checkout, "rev-parse", "HEAD~")
    git(world.checkout, "checkout", "-q", "change")
    Pipeline(world, head).merge_request(base_of(world)).job("plan")
    merged(world, head, sha, 5)
    git(world.checkout, "checkout", "-q", "main")
    done = Pipeline(world, sha).push(before).job("apply")
    assert done.code == 0, done.log
    assert "Warning: " not in done.log
    assert world.types() == ["number"]
    plan, applied = world.forge.by_bot()
    assert plan.startswith(f"{MARKER}\n")
    assert applied.startswith("<!-- synapse-apply: target=prod apply -->\n")
    drift = Pipeline(world, sha, {"CI_PIPELINE_SOURCE": "schedule"})
    assert drift.job("drift").code == 0
    world.server.call("PATCH", "_emulator/objects/plugin/1/", {"author": "By hand"})
    late = drift.job("drift")
    assert late.code == 2
    assert late.kept == [f"{HERE}/drift.html"]


def test_one_push_of_two_merges(world: World) -> None:
    """Rows of both plans go at once, and both merge requests get a note of it."""
    before = read_head(world.checkout)
    first = world.change()
    assert Pipeline(world, first).merge_request(base_of(world)).job("plan").code == 0
    keep_plan(world, first, 5)
    second = world.add_storage("third")
    planning = Pipeline(world, second).merge_request(base_of(world), number=8)
    assert planning.job("plan").code == 0
    keep_plan(world, second, 6, 8)
    storages = len(world.objects("storage"))
    merged(world, first, world.merge("change"), None)
    sha = world.merge("third")
    merged(world, second, sha, None, 8)
    done = Pipeline(world, sha).push(before).job("apply")
    assert done.code == 0, done.log
    assert "Plans that were reviewed, older merges first: !7, !8\n" in done.log
    assert (world.types(), len(world.objects("storage"))) == (["number"], storages + 1)
    applied = "<!-- synapse-apply: target=prod apply -->\n"
    told = [row["of"] for row in world.forge.comments if row["body"].startswith(applied)]
    assert told == ["7", "8"]


def test_the_example_says_where_its_jobs_run() -> None:
    """A deploy job in a container would lose the state, and a system's Python takes no packages."""
    text = (EXAMPLE / ".gitlab-ci.yml").read_text(encoding="utf-8")
    assert "shell executor" in text
    assert "docker executor" in text
    found = document(EXAMPLE)
    made, *rest = [line for line in found["default"]["before_script"] if "python" in line]
    assert '-m venv --clear "$VENV"' in made
    installs = [line for line in rest if "pip install" in line]
    assert len(installs) == 2
    assert all('"$VENV/bin/python" -I -m pip' in line for line in installs)
    scripts = [line for name in JOBS for line in found[name]["script"] if "synapse_apply" in line]
    assert len(scripts) == 6
    assert all('"$VENV/bin/python" -I -m synapse_apply' in line for line in scripts)
