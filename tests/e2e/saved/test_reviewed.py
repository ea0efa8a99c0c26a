"""`apply --reviewed`: what equals a reviewed row goes, all else is refused."""

from __future__ import annotations

import git_repositories
import pytest
from at_terminal import run_at_terminal
from e2e.scenarios.workplace import PLUGIN, Server, Workplace, project
from fault.convergence import waiting_by_clock
from git_repositories import make_repository, start_branch
from installed import ROOT, environment


def descriptions(server: Server) -> list[str]:
    return [str(row["body"]["description"]) for row in server.objects("plugin")]


def git(place: Workplace, *typed: str) -> str:
    return git_repositories.git(place.root, *typed)


@pytest.fixture
def reviewed(two: Workplace) -> Workplace:
    """A branch with a new description of yolo, its plan in `pr`, and the main branch beside it."""
    make_repository(two.root)
    git(two, "add", "manifests", "plugins", "synapse-apply.yaml")
    git(two, "commit", "-q", "-m", "First")
    start_branch(two.root, "branch")
    two.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    git(two, "commit", "-q", "-a", "-m", "Describe")
    two.plan("--out", "pr", code=0)
    git(two, "checkout", "-q", "main")
    return two


def test_a_squash_merge(reviewed, server):
    """The same content under another commit: it goes, unasked, and again does nothing."""
    git(reviewed, "merge", "-q", "--squash", "branch")
    git(reviewed, "commit", "-q", "-m", "Describe (#1)")
    ran = reviewed.run("apply", "--reviewed", "pr", code=0)
    assert "0 added, 1 changed" in ran.out
    assert descriptions(server) == ["Finds more", "Finds things"]
    again = reviewed.run("apply", "--reviewed", "pr", code=0)
    assert "plugin/yolo: update was planned, and nothing is left to do" in again.out
    reviewed.unchanged()


def test_nobody_is_asked_on_a_terminal_either(reviewed, server):
    """As `--help` and docs/saved-plans.md say: what was reviewed is approved."""
    page = (ROOT / "docs" / "saved-plans.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.split("\n") if line.startswith("| Who must approve |")]
    assert row.count("nobody") == 2
    assert "on a terminal" in row
    git(reviewed, "merge", "-q", "--squash", "branch")
    environ = environment(reviewed.environ)
    code, shown = run_at_terminal(reviewed.root, b"", environ, "apply", "--reviewed", "pr")
    assert (code, "Enter a value" in shown) == (0, False), shown
    assert descriptions(server) == ["Finds more", "Finds things"]


def test_an_unrelated_merge(reviewed, server):
    """Rows nobody reviewed are refused, exit 4; the reviewed row goes."""
    git(reviewed, "merge", "-q", "--squash", "branch")
    reviewed.edit("manifests/sam.yaml", "Finds things", "Finds other things")
    reviewed.write("manifests/third.yaml", PLUGIN.replace("yolo", "eve").replace("Yolo", "Eve"))
    ran = reviewed.run("apply", "--reviewed", "pr", code=4)
    assert "! plugin/sam cannot be updated: no reviewed plan contains it" in ran.out
    assert "! plugin/eve cannot be created: no reviewed plan contains it" in ran.out
    assert "Refused: 2 (see ! rows)." in ran.out
    assert "Way out: review a new plan" in ran.out
    assert descriptions(server) == ["Finds more", "Finds things"]


@pytest.fixture
def both(reviewed: Workplace) -> Workplace:
    """A second branch that describes sam, its plan in `pr2`, and both merged."""
    start_branch(reviewed.root, "other")
    reviewed.edit("manifests/sam.yaml", "Finds things", "Finds other things")
    git(reviewed, "commit", "-q", "-a", "-m", "Describe the other")
    reviewed.plan("--out", "pr2", code=0)
    git(reviewed, "checkout", "-q", "main")
    git(reviewed, "merge", "-q", "branch")
    git(reviewed, "merge", "-q", "-m", "Both", "other")
    return reviewed


def test_two_merges_at_once(both, server):
    """Each pipeline applies its own reviewed plan on the sum of both; together all is done."""
    both.run("apply", "--reviewed", "pr2", code=4)
    assert descriptions(server) == ["Finds things", "Finds other things"]
    both.run("apply", "--reviewed", "pr", code=0)
    assert descriptions(server) == ["Finds more", "Finds other things"]
    both.unchanged()


@pytest.mark.parametrize("order", [("pr", "pr2"), ("pr2", "pr")])
def test_one_apply_of_two_merges(both, server, order):
    """Rows of both plans go, and no other."""
    both.write("manifests/third.yaml", PLUGIN.replace("yolo", "eve").replace("Yolo", "Eve"))
    typed = [word for name in order for word in ("--reviewed", name)]
    ran = both.run("apply", *typed, code=4)
    assert "! plugin/eve cannot be created: no reviewed plan contains it" in ran.out
    assert "Refused: 1 (see ! rows)." in ran.out
    assert descriptions(server) == ["Finds more", "Finds other things"]


def test_plans_that_are_no_single_apply(both, server):
    """Each in words of its own, before anything is asked of the backend."""
    ran = both.run("apply", "--reviewed", "pr", "--reviewed", "pr", code=4)
    assert "Error: A reviewed plan is specified more than once" in ran.err
    both.plan("--prune", "--out", "pruning", code=0)
    ran = both.run("apply", "--reviewed", "pr", "--reviewed", "pruning", code=4)
    assert "Error: These plans were created with different options" in ran.err
    assert "--prune is off in " in ran.err
    ran = both.run("apply", "pr", "--reviewed", "pr2", code=64)
    assert "not both" in ran.err
    both.run("apply", "--reviewed", "pr", "--reviewed", "nowhere", code=1)
    assert descriptions(server) == ["Finds things", "Finds things"]


def test_the_same_field_was_changed_again(reviewed, server):
    """Two merges of one line: what was reviewed is not what would be done."""
    git(reviewed, "merge", "-q", "--squash", "branch")
    reviewed.edit("manifests/plugin.yaml", "Finds more", "Finds all")
    ran = reviewed.run("apply", "--reviewed", "pr", code=4)
    assert (
        "  ! plugin/yolo cannot be updated: it differs from the reviewed plan\n        "
        'description: planned "Finds more", was "Finds things", is now "Finds things" and '
        'would become "Finds all"\n'
    ) in ran.out
    assert descriptions(server) == ["Finds things", "Finds things"]


def test_a_reviewed_resource_was_removed_again(two, server):
    """Planned to be made, and no longer declared."""
    new = two.write("manifests/third.yaml", PLUGIN.replace("yolo", "eve").replace("Yolo", "Eve"))
    two.plan("--out", "pr", code=0)
    new.unlink()
    ran = two.run("apply", "--reviewed", "pr", code=4)
    assert "! plugin/eve cannot be created: it is no longer declared or recorded" in ran.out
    assert len(descriptions(server)) == 2


def test_what_needs_an_unreviewed_row_is_refused(two, server):
    """The reviewed release of a plugin that nobody reviewed."""
    eve = PLUGIN.replace("yolo", "eve").replace("Yolo", "Eve")
    release = (
        "apiVersion: synapse-apply/v1\nkind: Release\nspec:\n  plugin: sam\n"
        '  version: "1.0.0"\n  source: ./plugins/sam\n'
    )
    two.write("manifests/release.yaml", release)
    two.write("plugins/sam/config.yaml", 'name: Sam\ncode: sam\nversion: "1.0.0"\n'
              "category: pre_annotation\n")  # fmt: skip
    two.plan("--out", "pr", code=0)
    server.call("DELETE", "_emulator/objects/plugin/2/")
    two.write("manifests/third.yaml", eve)
    ran = two.run("apply", "--reviewed", "pr", "--recreate", code=4)
    assert "! plugin/sam cannot be recreated: no reviewed plan contains it" in ran.out
    assert "! release/sam@1.0.0 cannot be created" in ran.out
    assert server.counts == (1, 1, 1)


def test_an_unsigned_review_needs_the_same_word(reviewed):
    """Whoever could write the file could let rows pass."""
    reviewed.environ["SYNAPSE_APPLY_STATE_KEY"] = "B" * 44
    git(reviewed, "merge", "-q", "--squash", "branch")
    ran = reviewed.run("apply", "--reviewed", "pr", code=4)
    assert "The signature of this plan cannot be checked" in ran.err
    reviewed.run("apply", "--reviewed", "pr", "--allow-unsigned", code=0)


def describe_again(place: Workplace, old: str, new: str, name: str) -> None:
    """A change of yolo's description, and its plan in a file."""
    place.edit("manifests/plugin.yaml", old, new)
    place.plan("--out", name, code=0)


@pytest.mark.parametrize("first", [("--reviewed", "there"), ("there",)], ids=["reviewed", "file"])
def test_what_was_reverted_stays_reverted(two, server, first):
    """A deployment that runs again does no row a second time, whichever way the first time was."""
    describe_again(two, "Finds things", "Finds more", "there")
    two.run("apply", *first, code=0)
    describe_again(two, "Finds more", "Finds things", "back")
    two.run("apply", "--reviewed", "back", code=0)
    two.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    sent = server.writes
    ran = two.run("apply", "--reviewed", "there", code=4)
    why = (
        "! plugin/yolo cannot be updated: this plan has already done it, and a plan does it "
        "only once"
    )
    assert why in ran.out
    assert "Way out: review a new plan" in ran.out
    assert (server.writes, descriptions(server)[0]) == (sent, "Finds things")
    two.plan("--out", "anew", code=0)
    two.run("apply", "--reviewed", "anew", code=0)
    assert descriptions(server)[0] == "Finds more"


def test_an_open_call_of_another_plan_brings_nothing_back(two, server):
    """A row that was done and reverted stays so while a later change of its object is lost."""
    two.write("synapse-apply.yaml", project(server.url, settle_after=1))
    describe_again(two, "Finds things", "Finds more", "there")
    two.run("apply", "--reviewed", "there", code=0)
    describe_again(two, "Finds more", "Finds things", "back")
    two.run("apply", "--reviewed", "back", code=0)
    rule = {"match": {"method": "PUT", "path": "/plugins/1/"}, "do": {"reset": "before"}}
    server.call("PUT", "_emulator/faults/", {"rules": [rule]})
    two.edit("manifests/plugin.yaml", "Finds things", "Finds all")
    two.run("apply", "--auto-approve", code=7)
    server.call("PUT", "_emulator/faults/", {"rules": []})
    two.edit("manifests/plugin.yaml", "Finds all", "Finds more")
    with waiting_by_clock([]):
        ran = two.run("apply", "--reviewed", "there", "--wait", code=4)
    assert "this plan has already done it, and a plan does it only once" in ran.out
    assert descriptions(server)[0] == "Finds things"


def test_a_created_object_that_was_removed_is_not_made_again(two, server):
    """By the plan that made it; a plan that was made since may."""
    sam = (two.root / "manifests/sam.yaml").read_text(encoding="utf-8")
    eve = two.write("manifests/third.yaml", sam.replace("sam", "eve").replace("Sam", "Eve"))
    two.plan("--out", "made", code=0)
    two.run("apply", "--reviewed", "made", code=0)
    text = eve.read_text(encoding="utf-8")
    eve.unlink()
    two.run("state", "rm", "plugin/eve", code=0)
    two.write("manifests/third.yaml", text.replace("eve", "eva").replace("Eve", "Eva"))
    assert "no reviewed plan contains it" in two.run("apply", "--reviewed", "made", code=4).out
    (two.root / "manifests/third.yaml").unlink()
    two.write("manifests/third.yaml", text)
    sent = server.writes
    ran = two.run("apply", "--reviewed", "made", code=4)
    assert "! plugin/eve cannot be created: " in ran.out
    assert server.writes == sent


@pytest.mark.parametrize(
    ("do", "code"),
    [({"status": 400}, 3), ({"reset": "before"}, 7)],
    ids=["refused", "lost"],
)
def test_rows_that_were_not_done_are_done_by_the_next_run(two, server, do, code):
    """A call without effect is free for the same plan; what was done is left as it is."""
    two.write("synapse-apply.yaml", project(server.url, settle_after=1))
    two.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    two.edit("manifests/sam.yaml", "Finds things", "Finds less")
    two.plan("--out", "pr", code=0)
    rule = {"match": {"method": "PUT", "path": "/plugins/2/"}, "do": do}
    server.call("PUT", "_emulator/faults/", {"rules": [rule]})
    two.run("apply", "--reviewed", "pr", code=code)
    server.call("PUT", "_emulator/faults/", {"rules": []})
    assert descriptions(server) == ["Finds more", "Finds things"]
    with waiting_by_clock([]):
        two.run("apply", "--reviewed", "pr", "--wait", code=0)
        assert descriptions(server) == ["Finds more", "Finds less"]
        two.unchanged()


def test_an_older_plan_beside_a_newer_one_is_used_up_with_it(two, server):
    """Both show the row, the newer one decides; later neither does it anew."""
    two.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    two.plan("--out", "first", code=0)
    two.plan("--out", "second", code=0)
    two.run("apply", "--reviewed", "first", "--reviewed", "second", code=0)
    describe_again(two, "Finds more", "Finds things", "back")
    two.run("apply", "--reviewed", "back", code=0)
    two.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    for plan in ("first", "second"):
        assert "has already done it" in two.run("apply", "--reviewed", plan, code=4).out
    assert descriptions(server)[0] == "Finds things"
