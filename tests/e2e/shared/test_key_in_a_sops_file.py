"""The key of a shared state is in a file of the repository that sops has encrypted."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import sops
from contract.stores.git.repositories import make_remote
from e2e.scenarios.workplace import Server, Workplace, project, sample
from git_repositories import commit, git

KEYS = [base64.b64encode(bytes([number + 65]) * 32).decode() for number in range(2)]
ID = "5f1c2d60-0000-4000-8000-000000000001"
REFERENCE = {"sops": {"file": "secrets/state.yaml", "key": "state/key"}}


def encrypted(key: str, **more: str) -> str:
    return sops.encrypt(json.dumps({"state": {"key": key}}), **more)


@pytest.fixture
def team(place: Workplace, server: Server, tmp_path: Path) -> Workplace:
    """A project whose state is in Git; the file with its key is opened by a key of age."""
    state = {"url": f"git:file://{make_remote(tmp_path)}?pace=0", "key": REFERENCE}
    settings = {"settle_after": 1, "sops": {"age": {"env": "AGE_KEY"}}, "state": state}
    document = json.loads(project(server.url, **settings))
    place.write("synapse-apply.yaml", json.dumps({**document, "project": {"id": ID}}))
    place.write("secrets/state.yaml", encrypted(KEYS[0]))
    place.environ |= {"AGE_KEY": sops.KEY, "PATH": sops.install(tmp_path / "bin")}
    sample(place)
    place.run("validate", "--strict", code=0)
    place.run("state", "init", code=0)
    return place


def test_whoever_opens_the_file_has_the_key(team: Workplace) -> None:
    """What is signed with it is verified; without it a plan says why there is none."""
    team.apply()
    team.unchanged()
    assert "Warning" not in team.plan(code=0).text
    checked = team.run("doctor", code=0).text
    assert "from state/key of secrets/state.yaml" in checked
    assert not [key for key in KEYS if key in checked]
    del team.environ["AGE_KEY"]
    planned = " ".join(team.plan(code=0).text.split())
    assert "The state key that the project file names is missing" in planned
    assert "targets.prod.state.key: AGE_KEY is not set" in planned
    assert "The state is not verified" in planned
    assert "The state key is missing" in team.apply(code=1).text


def test_a_file_that_was_changed_gives_no_key(team: Workplace) -> None:
    """Nor one that another key of age opens; a variable goes before it without asking sops."""
    text = team.root.joinpath("secrets/state.yaml").read_text()
    for changed, told in (
        (text.replace("mac: ENC[AES256_GCM,data:", "mac: ENC[AES256_GCM,data:A"), "was changed"),
        (
            encrypted(KEYS[0], recipient=sops.OTHER_RECIPIENT),
            "AGE_KEY does not match any of its age keys",
        ),
        (encrypted("short"), "State key"),
    ):
        assert changed != text
        team.write("secrets/state.yaml", changed)
        shown = team.plan().text
        assert told in " ".join(shown.split()), shown
        assert "No changes" not in shown or "not verified" in shown
        assert team.apply(code=1).code == 1
    team.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[0]
    assert "not verified" not in team.plan(code=0).text


def test_no_manifest_reads_the_key(team: Workplace) -> None:
    """What the target names for itself is closed to what a pull request may change."""
    configuration = {"bucket_name": "b", "access_key_id": "a"}
    secret = {"secret_access_key": {"valueFrom": REFERENCE}}
    spec = {"name": "S3", "provider": "amazon_s3", "category": "external"}
    spec["configuration"] = {**configuration, **secret}  # type: ignore[assignment]
    storage = {"apiVersion": "synapse-apply/v1", "kind": "Storage", "metadata": {"name": "s3"}}
    team.write("manifests/s3.yaml", json.dumps({**storage, "spec": spec}))
    refused = team.plan(code=1).text
    assert "targets.prod.state.key" in refused
    assert KEYS[0] not in refused


def test_another_key_in_the_file(team: Workplace) -> None:
    """Whoever puts it there runs `state rekey`; the former one shuts out then."""
    team.apply()
    team.write("secrets/state.yaml", encrypted(KEYS[1]))
    assert "The state has a different key" in team.plan(code=1).text
    team.run("state", "rekey", "--auto-approve", code=0)
    team.unchanged()
    assert "Warning" not in team.plan(code=0).text
    team.write("secrets/state.yaml", encrypted(KEYS[0]))
    assert "The state has a different key" in team.plan(code=1).text


def test_a_commit_that_is_only_planned_does_not_choose_the_key(team: Workplace) -> None:
    """With `--project-from` the file is that of the settings: another key makes no state genuine."""
    team.apply()
    for typed in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "first")):
        git(team.root, *typed)
    team.write("secrets/state.yaml", encrypted(KEYS[1]))
    assert "The state has a different key" in team.plan(code=1).text
    planned = team.plan("--project-from", "git:main", code=0).text
    assert "No changes" in planned
    assert "not verified" not in planned
    team.root.joinpath("secrets/state.yaml").unlink()
    assert "not verified" not in team.plan("--project-from", "git:main", code=0).text
    git(team.root, "commit", "-q", "-a", "-m", "another")
    team.write("secrets/state.yaml", encrypted(KEYS[0]))
    refused = team.plan("--project-from", "git:main").text
    assert "secrets/state.yaml is not a file at" in " ".join(refused.split())


def test_going_back_to_before_a_new_key(team: Workplace) -> None:
    """The manifests are those of the tag, the key is the checkout's: the state has no other."""
    team.write(".gitignore", "/.synapse-apply/\n/bin/\n/remote*/\n")
    git(team.root, "init", "-q")
    commit(team.root, with_ignored=False)
    git(team.root, "tag", "v1")
    team.apply()
    team.environ["SYNAPSE_APPLY_STATE_KEY_PROD"] = KEYS[1]
    team.run("state", "rekey", "--auto-approve", code=0)
    del team.environ["SYNAPSE_APPLY_STATE_KEY_PROD"]
    team.write("secrets/state.yaml", encrypted(KEYS[1]))
    for changed in (False, True):
        if changed:
            commit(team.root, with_ignored=False)
        shown = team.plan("--ref", "v1", code=0).text
        assert "No changes" in shown
        assert "not verified" not in shown
