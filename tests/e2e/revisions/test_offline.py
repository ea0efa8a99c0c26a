"""`plan --offline --against git:REF`: what a change means, without credentials or network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.revisions.conftest import Repository
from e2e.scenarios.canaries import CANARIES, leaks
from e2e.scenarios.workplace import PLUGIN, RELEASE
from forking import ForkedProcess, run_to_end
from jsonschema import Draft202012Validator

SECRET = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: bucket}
spec:
  name: Bucket
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: b
    access_key_id: {valueFrom: {env: RAW_ID}}
    secret_access_key: {valueFrom: {file: secrets/bucket.key}}
"""
AGAINST_MAIN = ("--offline", "--against", "git:main")


@pytest.fixture
def fork(unapplied: Repository) -> Repository:
    """A checkout with no credentials at all, and no state."""
    unapplied.place.environ.clear()
    return unapplied


def test_nothing_changed(fork: Repository) -> None:
    """The same manifests are no change, and every view says that nobody was asked."""
    ran = fork.place.plan(*AGAINST_MAIN, "--detailed-exitcode", code=0)
    main = fork.git("rev-parse", "--short=7", "main")
    assert f"against git:main ({main}), without querying the backend" in ran.out
    assert (
        f"\nNo changes. If the live state is git:main ({main}), there is nothing to do." in ran.out
    )
    assert not (fork.root / ".synapse-apply").exists()


def test_an_edit_is_told_by_field(fork: Repository) -> None:
    """Creates, updates, packages with their digests, and what is no longer declared."""
    fork.place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    fork.place.write("manifests/sam.yaml", *(
        text.replace("yolo", "sam").replace("Yolo", "Sam") for text in (PLUGIN, RELEASE)
    ))  # fmt: skip
    fork.place.write("plugins/sam/config.yaml", 'name: Sam\ncode: sam\nversion: "1.0.0"\n'
                     "category: pre_annotation\n")  # fmt: skip
    (fork.root / "manifests/storage.yaml").unlink()
    ran = fork.place.plan(*AGAINST_MAIN, "--detailed-exitcode", code=2)
    digest = fork.place.run("package", "show", "--digest", "plugins/sam", code=0).out.split()[0]
    assert "# plugin/yolo will be updated in-place" in ran.out
    assert '~ description = "Finds things" -> "Finds more"' in ran.out
    assert "# plugin/sam will be created" in ran.out
    assert "# (package plugins/sam, 1 file, " in ran.out
    assert f"# (content {digest})" in ran.out
    assert "plugin    = (known after apply) # from plugin/sam" in ran.out
    assert ". storage/raw-data will be forgotten: no longer declared" in ran.out
    assert "\nPlan: 2 to add, 1 to change, 0 to destroy, 1 to forget.\n" in ran.out


def test_a_bump_is_a_release_and_the_old_one_history(fork: Repository) -> None:
    """The package of the checkout is what would be published."""
    fork.place.edit("manifests/plugin.yaml", 'version: "1.0.0"\n  changelog: First',
                    'version: "1.1.0"\n  changelog: Second')  # fmt: skip
    fork.place.edit("plugins/yolo/config.yaml", "1.0.0", "1.1.0")
    fork.place.edit("manifests/plugin.yaml", 'version: "1.0.0"', 'version: "1.1.0"')
    ran = fork.place.plan(*AGAINST_MAIN, code=0)
    assert "# release/yolo@1.1.0 will be created" in ran.out
    assert "\nPlan: 1 to add, 1 to change, 0 to destroy.\n" in ran.out


def test_what_cannot_be_is_refused(fork: Repository) -> None:
    """Fields that never change and renames are told as apply would tell them."""
    fork.place.edit("manifests/storage.yaml", "/data/raw", "/data/other")
    fork.place.edit("manifests/plugin.yaml", "metadata: {name: yolo}", "metadata: {name: other}")
    fork.place.edit("manifests/plugin.yaml", "plugin: yolo", "plugin: other")
    ran = fork.place.plan(*AGAINST_MAIN, "--detailed-exitcode", code=2)
    assert "! storage/raw-data cannot be updated" in ran.out
    assert "`synapse-apply state mv plugin/yolo plugin/other`" in ran.out
    assert re.search(r"^Refused: \d \(see ! rows\)\.$", ran.out, re.MULTILINE)


@pytest.mark.parametrize("policy", ["note", "refuse"])
def test_other_content_under_one_version(fork: Repository, policy: str) -> None:
    """Published bytes never change: a note, or a refusal where the policy says so."""
    text = (fork.root / "synapse-apply.yaml").read_text()
    document = {**json.loads(text), "policy": {"unreleased_source": policy}}
    fork.place.write("synapse-apply.yaml", json.dumps(document))
    fork.place.write("plugins/yolo/plugin/main.py", "print('changed')\n")
    ran = fork.place.plan(*AGAINST_MAIN, code=0)
    assert "release/yolo@1.0.0 has unreleased changes (1 file; next version 1.0.1)" in ran.out
    assert ("Refused: 1" in ran.out) is (policy == "refuse")


def test_guards_speak(fork: Repository) -> None:
    """A pull request that removes everything is told what apply would say to it."""
    for name in ("plugin", "storage"):
        (fork.root / f"manifests/{name}.yaml").unlink()
    ran = fork.place.plan(*AGAINST_MAIN, code=0)
    assert "Warning: Apply will stop: No manifests" in ran.out


def test_secrets_are_compared_as_references(fork: Repository) -> None:
    """A value is never needed: another reference is told, and is no certain refusal."""
    fork.place.write("manifests/bucket.yaml", SECRET)
    fork.commit("bucket")
    fork.git("branch", "-f", "main")
    assert "No changes." in fork.place.plan(*AGAINST_MAIN, code=0).out
    fork.place.edit("manifests/bucket.yaml", "secrets/bucket.key", "secrets/other.key")
    ran = fork.place.plan(*AGAINST_MAIN, "--detailed-exitcode", code=2)
    assert "secret_access_key = (sensitive, reference changed)" in ran.out
    assert "refused if its value differs: configuration.secret_access_key" in ran.out


def test_what_must_exist_is_no_refusal(fork: Repository) -> None:
    """Nobody looked: a manifest that adopts an object is told what it needs."""
    fork.place.write("manifests/bucket.yaml",
                     SECRET.replace("{file: secrets/bucket.key}", "{live: true}"))  # fmt: skip
    fork.place.edit("manifests/plugin.yaml", "source: ./plugins/yolo", "source: published")
    fork.place.edit("manifests/plugin.yaml", 'version: "1.0.0"\n  changelog: First',
                    'version: "0.9.0"\n  changelog: First')  # fmt: skip
    ran = fork.place.plan(*AGAINST_MAIN, code=0)
    assert ran.out.count("# (the object must already exist") == 2
    assert "Refused" not in ran.out


def test_what_is_no_field_is_a_note(fork: Repository) -> None:
    """Protection that a change drops must not hide behind `No changes.`"""
    fork.place.edit("manifests/storage.yaml", "spec:\n",
                    "lifecycle: {prevent_destroy: true}\nspec:\n")  # fmt: skip
    ran = fork.place.plan(*AGAINST_MAIN, code=0)
    assert ". storage/raw-data: lifecycle changed: not a field of the object" in ran.out


def test_variables_and_overlays_of_both_sides_count(fork: Repository) -> None:
    """A value in the project file is as good as one in a manifest; --var speaks for both."""

    def write(value: str, declared: str) -> None:
        text = (fork.root / "synapse-apply.yaml").read_text()
        document = {**json.loads(text), "variables": {"what": {"default": value}, declared: {
            "default": "x"}}}  # fmt: skip
        fork.place.write("synapse-apply.yaml", json.dumps(document))

    fork.place.edit("manifests/plugin.yaml", "Finds things", "Finds ${var.what}")
    write("cats", "old")
    fork.commit("variable")
    fork.git("branch", "-f", "main")
    write("dogs", "new")
    assert '"Finds cats" -> "Finds dogs"' in fork.place.plan(*AGAINST_MAIN, code=0).out
    ran = fork.place.plan(*AGAINST_MAIN, "--var", "what=birds", "--var", "new=y", code=0)
    assert "No changes." in ran.out


def test_every_view_is_labelled(fork: Repository, tmp_path: Path) -> None:
    """Nobody may take it for a plan of what is live, and no program may apply it."""
    fork.place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    reports = [f"--report={kind}={tmp_path / kind}" for kind in ("markdown", "json", "gitlab")]
    ran = fork.place.plan(*AGAINST_MAIN, *reports, "--report=github", "--json", code=0)
    document = ran.document
    schema = json.loads(Path("schemas/v1/plan.schema.json").read_text())
    Draft202012Validator(schema).validate(document)
    assert (document["offline"], document["applyable"]) == (True, False)
    assert document["base"]["against"].startswith("git:main (")
    assert json.loads((tmp_path / "json").read_text()) == document
    comment = (tmp_path / "markdown").read_text()
    assert re.search(
        r"^## Plan for `prod` against `git:main \(\w+\)`, without querying the backend$",
        comment,
        re.MULTILINE,
    )


def test_what_does_not_go_with_it(fork: Repository) -> None:
    """It cannot be saved, and says what to compare with: usage errors, exit 64."""
    for more in (
        ["--out", "next"],
        ["--ref", "main"],
        ["--resend-secrets"],
    ):
        assert "cannot be combined with" in fork.place.plan(*AGAINST_MAIN, *more, code=64).err
    for alone in (["--offline"], ["--against", "git:main"], ["--offline", "--against", "git:"]):
        assert "--against git:REF" in fork.place.plan(*alone, code=64).err
    for without_kind in (["--against", "HEAD"], ["--offline", "--against", "HEAD"]):
        assert "--against git:HEAD" in fork.place.plan(*without_kind, code=64).err


def test_a_checkout_that_is_broken_and_a_base_that_is_new(fork: Repository) -> None:
    """What is declared now must be valid; against a ref without the project all is new."""
    fork.place.write("manifests/storage.yaml", "not: [valid")
    ran = fork.place.plan(*AGAINST_MAIN, code=1)
    assert "manifests/storage.yaml:" in ran.text
    (fork.root / "manifests/storage.yaml").unlink()
    fork.git("rm", "-q", "-r", "--cached", "synapse-apply.yaml", "manifests")
    fork.git("commit", "-q", "-m", "none")
    fork.git("branch", "-f", "main")
    ran = fork.place.plan(*AGAINST_MAIN, code=0)
    assert "Everything is treated as new" in ran.text
    assert "\nPlan: 2 to add, 0 to change, 0 to destroy.\n" in ran.out


def test_a_zip_that_the_base_does_not_have(fork: Repository) -> None:
    """What was built and never committed is told as not known, and stops nothing."""
    (fork.root / "dist").mkdir()
    fork.place.run("package", "build", "plugins/yolo", "--out", "dist/yolo.zip", code=0)
    fork.place.edit("manifests/plugin.yaml", "source: ./plugins/yolo", "file: dist/yolo.zip")
    fork.place.write(".gitignore", "dist/\n")
    fork.git("add", "-A")
    fork.git("commit", "-q", "-m", "built elsewhere")
    fork.git("branch", "-f", "main")
    ran = fork.place.plan(*AGAINST_MAIN, "--detailed-exitcode", code=0)
    assert "dist/yolo.zip is not in " in ran.text


def test_an_inventory_tells_what_exists(repo: Repository) -> None:
    """`state:FILE` knows ids, versions and digests: creates, removals and unreleased changes."""
    text = repo.place.run("state", "show", "--inventory", code=0).out
    repo.place.write("inventory.yaml", text)
    repo.place.environ.clear()
    against = ("--offline", "--against", "state:inventory.yaml", "--detailed-exitcode")
    ran = repo.place.plan(*against, code=0)
    assert ("No changes. If the live state is state:inventory.yaml, there is nothing") in ran.out
    assert "Fields were not compared" in ran.text
    repo.place.write("plugins/yolo/plugin/main.py", "print('changed')\n")
    repo.place.write("manifests/sam.yaml", PLUGIN.replace("yolo", "sam").replace("Yolo", "Sam"))
    (repo.root / "manifests/storage.yaml").unlink()
    ran = repo.place.plan(*against, code=2)
    assert "# plugin/sam will be created" in ran.out
    assert "release/yolo@1.0.0 has unreleased changes (next version 1.0.1)" in ran.out
    assert ". storage/raw-data will be forgotten" in ran.out
    assert "\nPlan: 1 to add, 0 to change, 0 to destroy, 1 to forget.\n" in ran.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing: here\n", "This is not an inventory"),
        ("inventory: [{address: plugin/yolo}]\n", "A row of the inventory cannot be used"),
        ("inventory: [{address: thing/x, id: 1}]\n", "There is no such kind"),
        (
            "inventory: [{address: plugin/yolo, id: 1, digest: [x]}]\n",
            "(plugin/yolo): its digest is",
        ),
        (
            "inventory: [{address: plugin/x, id: 1}, {address: plugin/x, id: 2}]\n",
            "An address is in the inventory twice",
        ),
        (None, "The inventory cannot be read"),
    ],
)
def test_an_inventory_that_is_none(fork: Repository, text: str | None, said: str) -> None:
    """Errors for people, each with what to do."""
    if text is not None:
        fork.place.write("inventory.yaml", text)
    ran = fork.place.plan("--offline", "--against", "state:inventory.yaml", code=1)
    assert said in ran.text


HOOK = """\
import os, runpy, sys
def seen(event, args):
    if event.startswith("socket.") and event != "socket.gethostname":
        os.write(2, f"SEEN {event}\\n".encode())
    if event == "open" and "secrets/bucket" in str(args[0]):
        os.write(2, f"SEEN {event} {args[0]}\\n".encode())
sys.addaudithook(seen)
runpy.run_module("synapse_apply", run_name="__main__")
"""


def test_no_socket_is_opened_and_no_secret_is_read(fork: Repository) -> None:
    """With every secret at hand, none is looked at: neither by us nor on the wire."""
    fork.place.write("secrets/bucket.key", CANARIES["file"])
    fork.place.write("manifests/bucket.yaml", SECRET)
    fork.place.write("manifests/plain.yaml", SECRET.replace("bucket}", "plain}").replace(
        "Bucket", "Plain").replace("{valueFrom: {env: RAW_ID}}", json.dumps(CANARIES["literal"])
    ))  # fmt: skip
    given = {
        "RAW_ID": CANARIES["env"],
        "SYNAPSE_ACCESS_TOKEN": CANARIES["env"],
        "PROD_TOKEN": CANARIES["env"],
        "SYNAPSE_HOST": "https://nowhere.example",
    }
    for more in ([], ["--json"], ["--report", "markdown=-"]):
        # A fork has imported all before it is watched: one of them is a process of its own.
        process_type = ForkedProcess if more else subprocess.Popen
        done = run_to_end(
            [sys.executable, "-c", HOOK, "plan", *AGAINST_MAIN, *more],
            fork.root,
            {**os.environ, **given},
            process_type=process_type,
        )
        assert done.returncode == 0, done.stderr
        assert "SEEN" not in done.stderr
        assert "storage/bucket" in done.stdout + done.stderr
        assert leaks((done.stdout + done.stderr).encode()) == []
