"""The workflows of examples/gitops and action.yml, step by step, as a runner of GitHub runs them."""

from __future__ import annotations

from pathlib import Path

from e2e.pipelines.actions import read_artifact
from e2e.pipelines.conftest import SECRETS, World
from e2e.pipelines.forge import BOT, TOKEN, make_pull, make_run
from git_repositories import git, read_head
from in_process import run
from installed import ROOT

MARKER = "<!-- synapse-apply: target=prod -->"


def secret_in(text: str) -> bool:
    return any(value in text for value in (*SECRETS.values(), TOKEN))


def test_a_fork_is_checked_without_any_secret(fresh: World) -> None:
    """Findings, what the change means, a rehearsal; no backend is asked, and nothing is planned."""
    sha = fresh.change()
    runner = fresh.runner(sha, head="stranger/vision")
    runner.secrets = {}
    done = runner.job("pull-request.yml", "check")
    assert done.ok, done.log
    assert "Valid: " in done.log
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in done.log
    assert done.log.endswith("No changes. Live state matches the configuration.\n")
    assert "without querying the backend" in runner.summary
    kept = fresh.root / "artifacts" / "1" / "offline-plan"
    assert sorted(p.name for p in kept.iterdir()) == ["comment.md", "report.html", "report.json"]
    assert runner.job("pull-request.yml", "plan").skipped
    assert fresh.forge.seen == []


def test_a_finding_ends_the_check(fresh: World) -> None:
    """The first step that fails stops the job, with an annotation at the line."""
    sha = fresh.change("author: Vision", "autor: Vision")
    done = fresh.runner(sha).job("pull-request.yml", "check")
    assert not done.ok
    assert done.codes[-1] == 1
    assert "::error file=manifests/defect-detection.yaml,line=" in done.log
    assert "Plan: " not in done.log


def test_a_plan_keeps_one_comment(world: World) -> None:
    """The second run writes the first one's comment anew, behind a page of comments of others."""
    for number in range(105):
        world.forge.add("somebody", f"{MARKER} mine too\n{number}" if number else f"{MARKER}\nfake")
    done = world.runner(world.change()).job("pull-request.yml", "plan")
    assert done.ok, done.log
    (first,) = world.forge.by_bot()
    assert first.startswith(f"{MARKER}\n")
    assert "number" in first
    assert done.outputs["change"] == "1"
    assert done.outputs["has_changes"] == "true"
    assert Path(done.outputs["reports"], "saved.plan").is_file()
    again = world.runner(world.change("float", "double")).job("pull-request.yml", "plan")
    assert again.ok, again.log
    (second,) = world.forge.by_bot()
    assert "double" in second
    assert "number" not in second
    assert world.forge.comments[0]["body"] == f"{MARKER}\nfake"
    kept = world.root / "artifacts" / "1" / "prod-plan-7"
    texts = [path.read_bytes().decode(errors="replace") for path in kept.iterdir()]
    assert not any(map(secret_in, [*texts, first, second, done.log, again.log]))
    assert world.types() == ["float"]


def test_a_plan_that_fails_is_told_in_the_comment(fresh: World) -> None:
    """An old comment does not stay as if it still held."""
    fresh.forge.add(BOT, f"{MARKER}\nold")
    runner = fresh.runner(fresh.change())
    runner.secrets = {**SECRETS, "SYNAPSE_PROD_TOKEN": "wrong-token-of-tests"}
    done = runner.job("pull-request.yml", "plan")
    assert not done.ok
    (comment,) = fresh.forge.by_bot()
    assert "old" not in comment
    assert "**Plan incomplete: 1 error. It cannot be applied.**" in comment


def test_a_comment_that_cannot_be_written_is_a_warning(world: World) -> None:
    """A read that failed is repeated; a write that was forbidden is told, and the plan stands."""
    sha = world.change()
    world.forge.failing = [502]
    assert world.runner(sha).job("pull-request.yml", "plan").ok
    assert len(world.forge.by_bot()) == 1
    world.forge.failing = [403]
    done = world.runner(sha).job("pull-request.yml", "plan")
    assert done.ok
    assert "::warning title=The comment could not be written::HTTP Error 403" in done.log
    assert "pull-requests: write" in done.log


def merged(world: World, head: str, sha: str, run_id: int | None, number: int = 7) -> None:
    """The forge knows the pull request, and the run that planned it where there was one."""
    world.forge.pulls[sha] = [make_pull(6, head, "another"), make_pull(number, head, sha)]
    if run_id is not None:
        world.forge.runs.append(make_run(run_id, head))
        name = f"prod-plan-{number}"
        if (world.root / "artifacts" / str(run_id) / name).is_dir():
            data = read_artifact(world.root, str(run_id), name)
            world.forge.keep_artifact(run_id, 100 * run_id, name, data)


def test_a_merge_applies_what_was_reviewed(world: World) -> None:
    """Only the rows of the pull request's plan: what came beside it is refused."""
    head = world.change()
    assert world.runner(head, run_id="5").job("pull-request.yml", "plan").ok
    before = git(world.checkout, "rev-parse", "origin/main")
    sha = world.merge()
    merged(world, head, sha, 5)
    done = world.runner(sha, run_id="6", before=before).job("deploy.yml", "apply")
    assert done.ok, done.log
    assert (done.outputs["change"], done.outputs["exit_code"]) == ("1", "0")
    assert world.types() == ["number"]
    plan, applied = world.forge.by_bot()
    assert plan.startswith(f"{MARKER}\n")
    assert applied.startswith("<!-- synapse-apply: target=prod apply -->\n")
    assert (world.root / "artifacts" / "6" / "prod-apply" / "report.html").is_file()

    head = world.change("number", "double")
    assert world.runner(head, run_id="7").job("pull-request.yml", "plan").ok
    archive = world.checkout / "manifests-prod" / "archive.yaml"
    second = archive.read_text().replace("archive}", "second}").replace("Archive", "Second")
    archive.with_name("second.yaml").write_text(second)
    world.commit("change")
    sha = world.merge()
    merged(world, head, sha, 7)
    done = world.runner(sha, run_id="8").job("deploy.yml", "apply")
    assert not done.ok
    assert done.codes[-2:] == [4, 0]
    assert world.types() == ["double"]
    assert len(world.objects("storage")) == 2
    assert len(world.forge.by_bot()) == 2


def test_one_push_of_several_merges(world: World) -> None:
    """Rows of all plans go at once; one merge is on top of another, and one has no plan.

    Where it cannot be said what the push merged, only the last merge counts, and nothing is lost.
    """
    before = read_head(world.checkout)
    heads = {7: world.change()}
    assert world.runner(heads[7], run_id="5").job("pull-request.yml", "plan").ok
    git(world.checkout, "checkout", "-q", "-b", "stacked")
    overlay = world.checkout / "synapse-apply.yaml"
    overlay.write_text(overlay.read_text().replace("Acme Platform Team", "Acme Vision Team"))
    heads[8] = world.commit("stacked")
    assert world.runner(heads[8], run_id="6", number=8).job("pull-request.yml", "plan").ok
    heads[9] = world.add_storage("third")
    assert world.runner(heads[9], run_id="7", number=9).job("pull-request.yml", "plan").ok
    storages = len(world.objects("storage"))
    git(world.checkout, "checkout", "-q", "-B", "docs", "origin/main")
    (world.checkout / "notes.md").write_text("Notes\n")
    heads[10] = world.commit("docs")
    for number, branch in {10: "docs", 7: "change", 8: "stacked", 9: "third"}.items():
        sha = world.merge(branch)
        merged(world, heads[number], sha, {7: 5, 8: 6, 9: 7}.get(number), number)

    done = world.runner(sha, run_id="8", before="f" * 40).job("deploy.yml", "apply")
    assert not done.ok
    assert done.outputs["exit_code"] == "4"
    assert "::warning title=Not all merges of this push were looked for::" in done.log
    assert "plugin/defect-detection cannot be updated: no reviewed plan contains it" in done.log
    assert (world.types(), len(world.objects("storage"))) == (["float"], storages + 1)

    done = world.runner(sha, run_id="9", before=before).job("deploy.yml", "apply")
    assert done.ok, done.log
    assert (
        "::warning title=A merge of this push has no plan::No run of pull-request.yml" in done.log
    )
    assert (done.outputs["add"], done.outputs["change"]) == ("0", "1")
    assert (world.types(), len(world.objects("storage"))) == (["number"], storages + 1)
    assert world.objects("plugin")[0]["body"]["author"] == "Acme Vision Team"
    applied = "<!-- synapse-apply: target=prod apply -->\n"
    told = [row["of"] for row in world.forge.comments if row["body"].startswith(applied)]
    assert sorted(told) == ["7", "8", "9"]


def test_what_nobody_reviewed_is_not_applied(world: World) -> None:
    """A direct push, and a pull request whose plan failed: an error that says so, and no call."""
    head = world.change()
    sha = world.merge()
    done = world.runner(sha).job("deploy.yml", "apply")
    assert not done.ok
    assert "::error title=No plan was reviewed for this commit::No pull request was" in done.log
    merged(world, head, sha, None)
    done = world.runner(sha).job("deploy.yml", "apply")
    assert not done.ok
    assert "No run of pull-request.yml kept an artifact prod-plan-7 for " in done.log
    merged(world, head, sha, 9)
    done = world.runner(sha).job("deploy.yml", "apply")
    assert "pull-request.yml for pull request 7 kept no artifact prod-plan-7, or it is" in done.log
    world.forge.failing = [403]
    assert "cannot be looked up" in world.runner(sha).job("deploy.yml", "apply").log
    assert world.types() == ["float"]


def test_a_forged_plan_is_refused(world: World) -> None:
    """Whoever could write the artifact has not the state key: nothing of it is done."""
    head = world.change()
    forged = world.root / "artifacts" / "9" / "prod-plan-7" / "saved.plan"
    forged.parent.mkdir(parents=True)
    unkeyed = {name: text for name, text in SECRETS.items() if "STATE_KEY" not in name}
    run(f"plan -t prod --out {forged}", world.checkout, unkeyed)
    sha = world.merge()
    merged(world, head, sha, 9)
    done = world.runner(sha).job("deploy.yml", "apply")
    assert not done.ok
    assert 4 in done.codes
    assert "This plan is not signed" in done.log
    assert world.types() == ["float"]


def test_drift_ends_red(world: World) -> None:
    """Nothing changed: fine. Changed outside: exit code 2, counted and shown; nothing is written."""
    sha = "0" * 40
    assert world.runner(sha).job("drift.yml", "drift").ok
    at = next(row["id"] for row in world.objects("plugin"))
    world.server.call("PATCH", f"_emulator/objects/plugin/{at}/", {"author": "By hand"})
    runner = world.runner(sha)
    done = runner.job("drift.yml", "drift")
    assert not done.ok
    assert (done.codes[-1], done.outputs["drifted"], done.outputs["exit_code"]) == (2, "1", "2")
    assert "By hand" in runner.summary
    assert world.objects("plugin")[0]["body"]["author"] == "By hand"


def test_the_action_takes_no_other_command(fresh: World) -> None:
    """An input that is no command of ours is an error before anything is run or removed."""
    workflow = fresh.checkout / ".github" / "workflows" / "drift.yml"
    workflow.write_text(workflow.read_text().replace("command: drift", "command: state rm"))
    done = fresh.runner("0" * 40).job("drift.yml", "drift")
    assert not done.ok
    assert done.codes[-1] == 64
    assert "is validate, plan, apply or drift" in done.log
    assert ROOT.is_dir()
    assert run("state show -t prod", fresh.checkout, SECRETS).returncode == 0
