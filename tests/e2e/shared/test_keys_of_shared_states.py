"""A state that several machines share has one key, and each of them is told how to get it."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from at_terminal import run_at_terminal
from e2e.scenarios.workplace import Server, Workplace
from git_repositories import git, make_repository
from installed import environment

from .conftest import write_shared_project

KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in range(3)]
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: s3}
spec:
  name: S3
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: b
    access_key_id: {valueFrom: {env: S3_ID}}
    secret_access_key: {valueFrom: {env: S3_KEY}}
"""


def typed(place: Workplace, *words: str, answer: bytes = b"") -> tuple[int, str]:
    """A command at a terminal."""
    return run_at_terminal(place.root, answer, environment(place.environ), *words, "--color=never")


def users_key(place: Workplace) -> Path:
    (path,) = Path(place.environ["HOME"]).glob(".config/synapse-apply/keys/*.key")
    return path


def second_machine(team: Workplace, name: str) -> Workplace:
    """The same checkout under another user's home."""
    home = Path(team.environ["HOME"]).parent / name
    home.mkdir()
    return replace(team, environ={**team.environ, "HOME": str(home)})


def test_at_a_terminal_the_key_is_the_users(team: Workplace, server: Server) -> None:
    """Made once, outside of the checkout; the second machine reads what to do, and does it."""
    code, shown = typed(team, "state", "init")
    assert code == 0, shown
    key = users_key(team)
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    assert (key.parents[1] / ".gitignore").read_text() == "*\n"
    assert f"in {key}." in shown
    assert (len(shown.strip().splitlines()), shown.count(str(key))) == (5, 1)
    assert "`synapse-apply state key -t prod` prints how to give it to a pipeline." in shown
    told = team.run("state", "key", code=0).out
    assert f"gh secret set SYNAPSE_APPLY_STATE_KEY_PROD --env prod < {key}\n" in told
    stored = "glab variable set SYNAPSE_APPLY_STATE_KEY_PROD --scope prod --protected --masked"
    assert f"tr -d '\\n' < {key} | {stored}\n" in told
    assert key.read_text().strip() not in shown + told
    assert list(team.root.rglob("*.key")) == []
    text = (team.root / "synapse-apply.yaml").read_text()
    (project_id,) = re.findall(r'"?project"?: \{"?id"?: "?([0-9a-f-]{36})', text)
    assert key.name == f"prod-{project_id}.key"
    assert text.startswith("# ours\n")

    team.write("manifests/s3.yaml", STORAGE)
    team.environ |= {"S3_ID": "id-1", "S3_KEY": "secret-1"}
    team.apply()
    team.unchanged()

    other = second_machine(team, "bob")
    warned = " ".join(other.plan(code=0).text.split())
    assert "The key for this shared state is missing" in warned
    place_of_key = Path(other.environ["HOME"], *key.relative_to(team.environ["HOME"]).parts)
    assert f"into SYNAPSE_APPLY_STATE_KEY_PROD or the file {place_of_key} (mode 0600)" in warned
    assert (
        "`synapse-apply state rekey` changes the key. Machines with the former key are then refused"
        in warned
    )
    place_of_key.parent.mkdir(parents=True)
    place_of_key.write_bytes(key.read_bytes())
    place_of_key.chmod(0o600)
    other.unchanged()
    other.environ["S3_KEY"] = "secret-2"
    assert "(sensitive, changed)" in other.plan("--detailed-exitcode", code=2).out


def test_off_a_terminal_a_place_is_named(team: Workplace, tmp_path: Path) -> None:
    """Nothing is made before that; what is named is a key that later commands are told of."""
    refused = team.run("state", "init", code=1).err
    assert "There is no state key for a state that several machines share" in refused
    assert "`synapse-apply state init --key-file PATH" in refused
    assert team.run("state", "show", code=1).err
    file = tmp_path / "keys" / "prod.key"
    made = team.run("state", "init", "--key-file", str(file), "--json", code=0).document
    assert made["key"] == {"id": made["key"]["id"], "from": str(file), "made": True}
    assert made["project"] == {"id": None, "written": False}
    assert file.stat().st_mode & 0o777 == 0o600
    assert "The key for this shared state is missing" in team.plan(code=0).text
    team.environ["SYNAPSE_APPLY_STATE_KEY_PROD"] = file.read_text()
    assert "The key for this shared state is missing" not in team.apply().text
    assert file.read_text().strip() not in str(made)


def test_a_key_that_is_there_is_taken(team: Workplace, tmp_path: Path) -> None:
    """And no second one is made beside it."""
    team.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[0]
    refused = team.run("state", "init", "--key-file", str(tmp_path / "k"), code=1).err
    assert "A state key already exists" in refused
    assert not (tmp_path / "k").exists()
    out = team.run("state", "init", code=0).out
    assert re.search(r"bound to state key [0-9a-f]{16}, from SYNAPSE_APPLY_STATE_KEY\.", out)
    assert "gh secret set" not in out


def test_the_project_file_says_where_it_is(team: Workplace, server: Server, tmp_path: Path) -> None:
    """A variable or a file; what is set for this machine goes before it."""
    file = tmp_path / "prod.key"
    file.write_text(KEYS[1])
    for key, environ in (({"file": str(file)}, {}), ({"env": "OUR_KEY"}, {"OUR_KEY": KEYS[1]})):
        write_shared_project(team, server, key=key)
        team.environ |= environ
        if not (tmp_path / "made").exists():
            team.run("state", "init", code=0)
            (tmp_path / "made").touch()
        rows = {
            row["check"]: row for row in team.run("doctor", "--json", code=0).document["checks"]
        }
        assert rows["key"]["summary"].endswith(f"from {next(iter(key.values()))}")
        team.apply()
    team.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[2]
    for command in (("plan",), ("apply", "--auto-approve"), ("drift",)):
        refused = team.run(*command, code=1).err
        assert "The state has a different key" in refused
        assert "from SYNAPSE_APPLY_STATE_KEY" in refused
    team.environ["SYNAPSE_APPLY_STATE_KEY_PROD"] = KEYS[1]
    team.plan(code=0)


@pytest.mark.parametrize(
    ("ignored", "tracked", "refused"),
    [("", False, "Git does not ignore it"), ("keys/", False, ""), ("keys/", True, "is tracked")],
)
def test_no_key_file_that_git_would_take(
    team: Workplace, server: Server, ignored: str, tracked: bool, refused: str
) -> None:
    """Neither to read nor to make; one that is ignored with its folder is fine."""
    write_shared_project(team, server, key={"file": "keys/prod.key"})
    make_repository(team.root)
    team.write(".gitignore", f"{ignored}\n")
    if tracked:
        team.write("keys/prod.key", KEYS[0])
        git(team.root, "add", "-f", "keys")
    ran = team.run("state", "init", "--key-file", "keys/prod.key")
    if not refused:
        assert ran.code == 0, ran.text
        team.apply()
        git(team.root, "add", "-A")
        return
    assert ran.code == 1
    assert "Git would take the state key" in ran.err
    assert refused in ran.err
    if not tracked:
        assert not (team.root / "keys").exists()
        team.write("keys/prod.key", KEYS[0])
    else:
        assert "Create a different key with `synapse-apply state rekey`" in ran.err
    assert "Git would take the state key" in team.run("state", "init", code=1).err


def test_a_rekey_asks_and_goes_to_the_same_place(team: Workplace) -> None:
    """Others are shut out until they have the new key, and read so."""
    assert typed(team, "state", "init")[0] == 0
    team.write("manifests/s3.yaml", STORAGE)
    team.environ |= {"S3_ID": "id-1", "S3_KEY": "secret-1"}
    team.apply()
    key = users_key(team)
    former = key.read_text()
    other = second_machine(team, "bob")
    other.environ["SYNAPSE_APPLY_STATE_KEY"] = former
    other.unchanged()

    assert (
        "Approval is required, but there is no terminal" in team.run("state", "rekey", code=1).err
    )
    code, shown = typed(team, "state", "rekey", answer=b"no\n")
    assert (code, key.read_text()) == (1, former)
    assert "Every other machine and job is refused until it has the new key" in shown
    code, shown = typed(team, "state", "rekey", answer=b"yes\n")
    assert code == 0, shown
    assert key.read_text() != former
    assert f"gh secret set SYNAPSE_APPLY_STATE_KEY_PROD --env prod < {key}" in shown
    assert "Computed the digests of 2 secrets with key" in shown
    team.unchanged()
    refused = other.plan(code=1).err
    assert "The state has a different key" in refused
    other.environ["SYNAPSE_APPLY_STATE_KEY"] = key.read_text()
    other.unchanged()

    # Who puts a new key into the variable gives it to the state, and the rest is shut out.
    other.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[2]
    document = other.run("state", "rekey", "--auto-approve", "--json", code=0).document
    assert (document["done"], document["key_file"]) == (2, None)
    other.unchanged()
    assert "The state has a different key" in team.plan(code=1).err
    assert json.loads(other.run("state", "rekey", "--json", code=0).out)["done"] == 0


@pytest.mark.parametrize("is_link", [False, True])
def test_no_former_key_that_a_commit_brings(team: Workplace, server: Server, is_link: bool) -> None:
    """It would make genuine, in a rekey, what its author has signed with it."""
    write_shared_project(team, server, key={"file": "keys/prod.key"})
    make_repository(team.root)
    team.write(".gitignore", "/keys/\n")
    team.run("state", "init", "--key-file", "keys/prod.key", code=0)
    team.plan(code=0)
    former = team.root / "keys" / "prod.key.previous"
    if is_link:
        former.symlink_to("elsewhere")
    else:
        former.write_text(KEYS[1])
    git(team.root, "add", "-f", "keys/prod.key.previous")
    for typed in (("plan",), ("state", "rekey", "--auto-approve")):
        ran = team.run(*typed, code=1)
        assert "Git would take the state key" in ran.err
        assert "prod.key.previous is tracked" in " ".join(ran.err.split())
