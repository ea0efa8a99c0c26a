"""A saved plan: approved by being passed, genuine, for its target, used once."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path

import pytest
from e2e.scenarios.workplace import Server, Workplace, held, project, sample


def description(server: Server, at: int = 0) -> str:
    return str(server.objects("plugin")[at]["body"]["description"])


def tamper(file: Path, old: str, new: str) -> None:
    """Change a text in a plan's file."""
    with zipfile.ZipFile(file) as archive:
        text = archive.read("plan.json").decode()
    assert old in text
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("plan.json", text.replace(old, new))


def test_it_is_applied_without_a_question_and_once(planned, server):
    """Off a terminal and without --auto-approve; the second time is exit 4 and sends nothing."""
    ran = planned.run("apply", "next", code=0)
    assert "Apply complete! Resources: 0 added, 1 changed, 0 destroyed." in ran.out
    assert description(server) == "Finds more"
    planned.unchanged()
    sent = server.writes
    again = planned.run("apply", "next", code=4)
    assert "Error: This plan was already applied" in again.err
    assert "a plan is applied only once" in again.err
    assert server.writes == sent


def test_saving_says_so(two, tmp_path):
    """The words on stderr, a private file, and nothing is ever replaced."""
    ran = two.plan("--out", "next", code=0)
    assert "Saved the plan to next.\nApply it with `synapse-apply apply next`." in ran.err
    assert stat.S_IMODE((two.root / "next").stat().st_mode) == 0o600
    before = (two.root / "next").read_bytes()
    again = two.plan("--out", "next", code=1)
    assert "it already exists" in again.err
    assert (two.root / "next").read_bytes() == before
    assert "No such file or directory" in two.plan("--out", "nowhere/next", code=1).err
    assert not list(two.root.glob(".next*"))


def test_the_options_of_a_plan_are_in_its_file(two):
    """With --detailed-exitcode and --json as ever; the hint names the target that was named."""
    two.edit("manifests/sam.yaml", "Finds things", "Finds more")
    ran = two.plan("-t", "prod", "--out", "a plan", "--detailed-exitcode", "--json", code=2)
    assert ran.document["summary"]["change"] == 1
    assert "`synapse-apply apply -t prod 'a plan'`" in ran.err
    refused = two.run("apply", "a plan", "--prune", code=64)
    assert "--prune cannot change a saved plan: use it when you create the plan" in refused.err
    assert "not both" in two.run("apply", "a plan", "--reviewed", "a plan", code=64).err
    ran = two.run("apply", "a plan", "--json", code=0)
    assert (
        ran.document["plan"]["id"] == json.loads(two.run("show", "a plan", "--json").out)["plan_id"]
    )


def test_a_plan_with_errors_is_not_saved(two, server):
    """What could be planned is shown, the file is not written."""
    server.call("POST", "_emulator/objects/storage/", {"body": {"name": "Raw data"}})
    server.call("DELETE", "_emulator/objects/storage/1/")
    server.call("POST", "_emulator/objects/storage/", {"body": {"name": "Raw data"}})
    ran = two.plan("--out", "next", code=1)
    assert "The plan was not saved to next: it has errors." in ran.err
    assert not (two.root / "next").exists()


def test_what_is_no_plan(two):
    """Another file, a damaged one, one that is not there: told, nothing sent."""
    two.write("other", "text\n")
    with zipfile.ZipFile(two.root / "zip", "w") as archive:
        archive.writestr("plan.json", '{"format": 1, "plan": {}}')
    with zipfile.ZipFile(two.root / "newer", "w") as archive:
        archive.writestr("plan.json", '{"format": 9}')
    for name in ("other", "zip", "newer", "absent"):
        ran = two.run("apply", name, code=1)
        assert "Error: This plan file cannot be used" in ran.err
        assert name in ran.err
    assert "another version of synapse-apply wrote it" in two.run("show", "newer", code=1).err


def add_second_target(planned, other):
    """A target `second`, which is the default from now on, with a state of its own."""
    planned.write(
        "synapse-apply.yaml",
        json.dumps(
            {
                **json.loads(project(other.url, "second")),
                "targets": {
                    **json.loads(project(other.url, "second"))["targets"],
                    **json.loads((planned.root / "synapse-apply.yaml").read_text())["targets"],
                },
            }
        ),
    )
    planned.run("state", "init", "-t", "second", code=0)


@pytest.mark.parametrize("form", [("next",), ("--reviewed", "next")], ids=["saved", "reviewed"])
def test_a_plan_knows_its_target(planned, serve, server, form):
    """No -t is needed, whatever the default is; printed commands and reports name the target."""
    other = serve("second")
    add_second_target(planned, other)
    ran = planned.run("apply", *form, "--report", "markdown=comment.md", code=0)
    assert "Apply complete! Resources: 0 added, 1 changed" in ran.out
    assert "target=prod" in (planned.root / "comment.md").read_text()
    assert other.counts == (0, 0, 0)
    (yolo, _) = server.objects("plugin")
    assert yolo["body"]["description"] == "Finds more"
    if form == ("next",):
        assert "-t prod" in planned.run("apply", *form, code=4).err


def test_a_plan_of_a_target_that_is_not_here(planned, serve):
    """Its name is no more than a name: it must be declared."""
    server = serve("second")
    planned.write("synapse-apply.yaml", project(server.url, "second"))
    ran = planned.run("apply", "next", code=1)
    assert "prod" in ran.err
    assert server.counts == (0, 0, 0)


def test_another_target(planned, make, serve):
    """Another backend, and another state of the same one: exit 4."""
    other = serve("second")
    add_second_target(planned, other)
    # The key of the other one cannot check the signature: that is not the point.
    ran = planned.run("apply", "next", "-t", "second", code=4)
    assert "Error: This plan is for another target" in ran.err
    assert "Hint: Apply it with -t prod, the target it was made for, or plan again." in ran.err
    assert "signature" not in ran.err
    assert (
        "for another target"
        in planned.run("apply", "--reviewed", "next", "-t", "second", code=4).err
    )
    ran = planned.run("apply", "next", "-t", "second", "--allow-unsigned", code=4)
    assert "Error: This plan is for another target" in ran.err
    assert other.url in ran.err
    assert other.counts == (0, 0, 0)
    assert "for another target" in planned.run("show", "next", "-t", "second", code=0).err
    assert planned.run("apply", "next", "-t", "prod", code=0)


def test_unsigned(two, server):
    """Without a state key it needs --allow-unsigned; then a warning says so."""
    (two.root / ".synapse-apply" / "state" / "prod.key").unlink()
    two.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    assert "next, unsigned: there is no state key." in two.plan("--out", "next", code=0).err
    assert "not signed." in two.run("show", "next", code=0).err
    ran = two.run("apply", "next", code=4)
    assert "Error: This plan is not signed" in ran.err
    assert "--allow-unsigned" in ran.err
    assert two.run("apply", "next", "--json", code=4).document["exit_code"] == 4
    ran = two.run("apply", "next", "--allow-unsigned", code=0)
    assert "Warning: This plan is not signed" in ran.err
    assert description(server) == "Finds more"


def test_signed_by_another_key(planned, server):
    """As good as unsigned."""
    planned.environ["SYNAPSE_APPLY_STATE_KEY"] = "A" * 44
    ran = planned.run("apply", "next", code=4)
    assert "Error: The signature of this plan cannot be checked" in ran.err
    planned.run("apply", "next", "--allow-unsigned", code=0)
    assert description(server) == "Finds more"


@pytest.mark.parametrize(
    ("old", "new"),
    [('"Finds more"', '"Finds all"'), ('"prune": false', '"prune": true')],
    ids=["a field", "an option"],
)
def test_tampered(planned, server, old, new):
    """Always refused, whatever is allowed."""
    tamper(planned.root / "next", old, new)
    ran = planned.run("apply", "next", "--allow-unsigned", code=4)
    assert "Error: The signature of this plan is wrong" in ran.err
    assert description(server) == "Finds things"


def test_missing_secrets_do_not_use_it_up(two):
    """Nothing was started: the plan can be applied once the secret is there."""
    two.write(
        "manifests/second.yaml",
        "apiVersion: synapse-apply/v1\nkind: Storage\nmetadata: {name: s3}\nspec:\n"
        "  name: S3\n  provider: amazon_s3\n  category: external\n  configuration:\n"
        "    bucket_name: b\n    access_key_id: {valueFrom: {env: RAW_ID}}\n"
        "    secret_access_key: {valueFrom: {env: RAW_KEY}}\n",
    )
    two.plan("--out", "next", code=0)
    ran = two.run("apply", "next", code=1)
    assert "RAW_KEY is not set" in ran.err
    two.environ.update(RAW_ID="an-id-of-tests", RAW_KEY="")
    assert "RAW_KEY is empty" in two.run("apply", "next", code=1).err
    two.environ.update(RAW_KEY="a-key-of-tests")
    two.run("apply", "next", code=0)
    two.unchanged()


def test_a_held_lock(planned):
    """Exit 6, and the plan is still good."""
    with held(planned):
        planned.run("apply", "next", "--lock-timeout", "0.3", code=6)
    planned.run("apply", "next", code=0)


def test_an_empty_plan_and_records_to_bring_up_to_date(two):
    """Nothing to do is fine; what only the record has to learn is done."""
    two.plan("--out", "empty", code=0)
    assert "No changes." in two.run("apply", "empty", code=0).out
    two.edit("manifests/sam.yaml", "metadata: {name: sam}", "metadata: {name: sam}\nlifecycle: "
             "{prevent_destroy: true}")  # fmt: skip
    two.plan("--out", "rebase", code=0)
    assert "Apply complete! Resources: 0 added" in two.run("apply", "rebase", code=0).out
    assert "already applied" in two.run("apply", "rebase", code=4).err
    shown = two.run("state", "show", "plugin/sam", "--json", code=0).document
    assert shown["protected"] is True


def test_a_release_whose_plugin_is_made_in_the_same_plan(ready, server):
    """Ids that are known after apply are the same in the fresh plan."""
    ready.plan("--out", "next", code=0)
    ran = ready.run("apply", "next", code=0)
    assert "3 added" in ran.out
    assert server.counts == (1, 1, 1)
    ready.unchanged()


def test_what_exists_is_adopted_with_the_consent_of_the_file(ready, server):
    """The plan showed the adoption; what turns up later is not in it."""
    body = {
        "name": "Raw data",
        "provider": "file_system",
        "category": "internal",
        "configuration": {"base_path": "/data/raw"},
    }
    server.call("POST", "storages/", body)
    assert "1 to import" in ready.plan("--out", "next", code=0).out
    ran = ready.run("apply", "next", code=0)
    assert "1 imported" in ran.out
    assert server.counts == (1, 1, 1)
    ready.unchanged()


def test_two_projects_do_not_share_plans(planned, tmp_path, server):
    """The same target in another working folder with a state of its own: exit 4."""
    other = Workplace(tmp_path / "other", dict(planned.environ))
    other.write("synapse-apply.yaml", project(server.url))
    sample(other)
    other.run("state", "init", code=0)
    ran = other.run("apply", str(planned.root / "next"), "--allow-unsigned", code=4)
    assert "the target has another state now" in ran.err
