"""A team whose state is a ref of the repository that the project is in."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest
from at_terminal import run_at_terminal
from contract.stores.git.repositories import make_checkout, make_remote, read_every_byte
from e2e.scenarios.workplace import Server, Workplace, project, sample
from git_repositories import git
from installed import environment

REF = "refs/synapse-apply/state/prod"
PROJECT = "5f1c2d60-0000-4000-8000-0123456789ab"
KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in range(2)]


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return make_remote(tmp_path)


@pytest.fixture
def clone(tmp_path: Path, remote: Path, server: Server, place: Workplace) -> Workplace:
    """A project in a shallow clone, as a pipeline has it, with a state key."""
    checkout = make_checkout(tmp_path, remote, "--depth=1")
    clone = Workplace(checkout, {**place.environ, "SYNAPSE_APPLY_STATE_KEY": KEYS[0]})
    state = {"url": "git:origin?pace=0"}
    text = project(server.url, state=state, settle_after=1)
    clone.write("synapse-apply.yaml", json.dumps({**json.loads(text), "project": {"id": PROJECT}}))
    sample(clone)
    return clone


def another_clone(clone: Workplace, remote: Path, tmp_path: Path) -> Workplace:
    """The same project on another runner."""
    folder = tmp_path / "another"
    folder.mkdir()
    checkout = make_checkout(folder, remote, "--depth=1")
    for path in ("synapse-apply.yaml", "manifests", "plugins"):
        subprocess.run(["cp", "-r", clone.root / path, checkout], check=True)
    return Workplace(checkout, dict(clone.environ))


def test_runners_that_keep_nothing(clone: Workplace, remote: Path, tmp_path: Path) -> None:
    """Made, applied, and read by the next runner; Git's own files in the checkout stay as they are."""
    before = read_every_byte(clone.root / ".git")
    made = clone.run("state", "init", code=0).text
    assert f"git:origin?ref={REF}" in made
    assert "Whoever can read that repository can read the state" in made
    assert "keep that key from who may only push" in made
    clone.apply()
    clone.unchanged()
    other = another_clone(clone, remote, tmp_path)
    other.unchanged()
    other.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    pushes = count_commits(remote)
    other.apply()
    assert count_commits(remote) - pushes <= 4
    other.unchanged()
    assert "update" in clone.run("state", "history", code=0).text
    assert read_every_byte(clone.root / ".git") == before
    files = git(remote, "ls-tree", "-r", "--name-only", REF).splitlines()
    assert "records/storage/" in str(files)
    assert "TOKEN" not in git(remote, "grep", "-h", "", REF)


def count_commits(remote: Path) -> int:
    return len(git(remote, "rev-list", REF).splitlines())


def read_batch_number(remote: Path) -> int:
    return int(git(remote, "log", "-1", "--format=%s", REF).rpartition(" ")[2])


def write_hook(remote: Path, script: str) -> Path:
    hook = remote / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)
    return hook


def test_a_machine_without_git(clone: Workplace, server: Server, tmp_path: Path) -> None:
    """It is said what is missing, and nothing is sent that could change the backend."""
    clone.run("state", "init", code=0)
    empty_folder = tmp_path / "no-programs"
    empty_folder.mkdir()
    clone.environ["PATH"] = str(empty_folder)
    writes = server.writes
    for words in (("plan",), ("apply", "--auto-approve"), ("state", "show")):
        refused = clone.run(*words, code=1).text
        assert "Git cannot be started" in refused, words
        assert "Install git" in refused, words
    assert server.writes == writes


def test_a_host_that_takes_only_branches(clone: Workplace, remote: Path) -> None:
    """`state init` finds it out, says what to write, and that is a place for a state."""
    write_hook(remote, 'case "$1" in refs/heads/*) ;; *) echo "deny $1" >&2; exit 1 ;; esac')
    refused = clone.run("state", "init", code=1).text
    assert "rejected the state" in refused
    assert "deny refs/synapse-apply/state/prod" in refused
    assert "?ref=refs/heads/synapse-apply-state" in " ".join(refused.split())
    assert "pull request from a fork" in " ".join(refused.split())
    branch = "refs/heads/synapse-apply-state"
    clone.edit("synapse-apply.yaml", "?pace=0", f"?pace=0&ref={branch}")
    clone.run("state", "init", code=0)
    clone.apply()
    clone.unchanged()
    assert len(git(remote, "rev-list", branch).splitlines()) > 2
    assert "ok" in clone.run("doctor").text


def test_a_ref_that_was_set_back(clone: Workplace, remote: Path, tmp_path: Path) -> None:
    """An error to who remembers, until a backup is restored; it is the newest one then."""
    clone.run("state", "init", code=0)
    empty = git(remote, "rev-parse", REF)
    clone.apply()
    backup = str(tmp_path / "backup.db")
    clone.run("state", "backup", backup, code=0)
    git(remote, "update-ref", REF, empty)
    assert "The state was rolled back" in clone.plan(code=1).text
    # Nor where somebody who remembers nothing went on from there.
    other = another_clone(clone, remote, tmp_path)
    other.environ |= {"XDG_CACHE_HOME": str(tmp_path / "empty")}
    for _ in range(3):
        other.run("state", "rebind", "--auto-approve", code=0)
        other.run("state", "rm", "storage/raw-data")
    assert "The state was rolled back" in clone.plan(code=1).text
    # What is there may be the right one, and is put in its own place then.
    there = str(tmp_path / "there.db")
    assert (
        "The readable part of the state was written"
        in clone.run("state", "backup", there, code=1).text
    )
    clone.run("state", "restore", there, "--auto-approve", code=0)
    assert "storage/raw-data" not in clone.run("state", "show", code=0).out
    clone.run("state", "restore", backup, "--auto-approve", code=0)
    # A restore is the newest to all, however far they had got.
    clone.unchanged()
    other.unchanged()


@pytest.mark.parametrize(
    "words",
    [
        ("state", "show"),
        ("state", "history"),
        ("state", "show", "--inventory"),
        ("state", "show", "storage/no-such-thing"),
        ("get", "storages"),
    ],
    ids=" ".join,
)
def test_who_only_looked_remembers_it(
    clone: Workplace, remote: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A state that is set back after any command has read it is an error, as after a plan."""
    clone.run("state", "init", code=0)
    before = git(remote, "rev-parse", REF)
    looker = another_clone(clone, remote, tmp_path)
    looker.environ |= {"XDG_CACHE_HOME": str(tmp_path / "cache-of-looker")}
    clone.apply()
    looker.run(*words)
    git(remote, "update-ref", REF, before)
    assert "The state was rolled back" in looker.plan(code=1).text


def test_a_ref_that_was_removed(clone: Workplace, remote: Path) -> None:
    """Who has seen a state is not taken for a new user; there is a way to begin anew."""
    made = clone.run("state", "init", code=0).text
    lineage = re.findall(r"lineage ([0-9a-f-]{36})", made)[0]
    clone.apply()
    number = read_batch_number(remote)
    git(remote, "update-ref", "-d", REF)
    seen = f"A state of lineage {lineage} was there on"
    assert seen in " ".join(clone.plan(code=1).text.split())
    assert seen in " ".join(clone.run("doctor", code=1).text.split())
    refused = " ".join(clone.run("state", "init", code=1).text.split())
    assert "This location had a state before" in refused
    command = f"state init --lineage {lineage} -t prod"
    assert command in refused, refused
    clone.run(*command.split(), code=0)
    assert read_batch_number(remote) > number
    clone.run("apply", "--auto-approve", "--adopt", code=0)
    clone.unchanged()


def test_what_was_pushed_without_the_key(clone: Workplace, remote: Path, tmp_path: Path) -> None:
    """A warning to plans, an error to applies; the key makes a backup the state again."""
    clone.run("state", "init", code=0)
    clone.apply()
    backup = str(tmp_path / "backup.db")
    clone.run("state", "backup", backup, code=0)
    commit = git(remote, "cat-file", "commit", REF)
    changed = re.sub(r'("signature":"[0-9a-f]+:)[0-9a-f]{8}', r"\g<1>00000000", commit)
    arguments = ("hash-object", "-t", "commit", "-w", "--stdin")
    git(remote, "update-ref", REF, git(remote, *arguments, input=f"{changed}\n".encode()))
    assert "The state was rolled back" in clone.plan(code=1).text
    clone = another_clone(clone, remote, tmp_path)  # where nobody remembers the other commit
    clone.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    warned = clone.plan(code=0).text
    assert "Warning: The state has an entry that is not signed with its key" in warned
    assert (
        "Error: The state has an entry that is not signed with its key" in clone.apply(code=1).text
    )
    clone.run("state", "restore", backup, "--auto-approve", code=0)
    clone.apply()
    clone.unchanged()


def test_a_state_moves_into_the_repository(clone: Workplace, remote: Path) -> None:
    """All of it, from the file that it was in."""
    settings = json.loads((clone.root / "synapse-apply.yaml").read_text())
    url = settings["targets"]["prod"]["state"].pop("url")
    clone.write("synapse-apply.yaml", json.dumps(settings))
    clone.run("state", "init", code=0)
    clone.apply()
    migrated = clone.run("state", "backup", "--to", url, code=0).out
    assert "The state key is in SYNAPSE_APPLY_STATE_KEY. Every machine and job" in migrated
    assert "bind the state to this project: `synapse-apply state rebind -t prod`." in migrated
    settings["targets"]["prod"]["state"]["url"] = url
    clone.write("synapse-apply.yaml", json.dumps(settings))
    clone.unchanged()
    assert git(remote, "rev-parse", REF)


def test_the_embedded_backend_has_its_state_there(clone: Workplace) -> None:
    """Its first apply makes the key before the state, so that the second believes what it reads."""
    del clone.environ["SYNAPSE_APPLY_STATE_KEY"]
    settings = json.loads((clone.root / "synapse-apply.yaml").read_text())
    settings["targets"]["embedded"] = {"state": {"url": "git:origin?pace=0"}}
    clone.write("synapse-apply.yaml", json.dumps(settings))
    clone.write(".gitignore", ".synapse-apply/\n")
    clone.apply("-t", "embedded")
    clone.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    again = clone.apply("-t", "embedded")
    assert "1 changed" in again.out
    assert "not signed" not in again.text


def test_a_key_that_is_lost(clone: Workplace, tmp_path: Path) -> None:
    """Another one takes its place, and is enough for all others; who has the former is shut out."""
    clone.environ["HOME"] = str(tmp_path)
    clone.run("state", "init", code=0)
    clone.apply()
    del clone.environ["SYNAPSE_APPLY_STATE_KEY"]
    assert "The state is not verified" in clone.plan(code=0).text
    refused = " ".join(clone.apply(code=1).err.split())
    assert "The state key is missing" in refused
    assert (
        "a person who has it, and put it into SYNAPSE_APPLY_STATE_KEY_PROD or the file " in refused
    )
    clone.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[1]
    assert "--allow-unsigned" in clone.run("state", "rekey", "--auto-approve", code=1).err
    clone.run("state", "rekey", "--auto-approve", "--allow-unsigned", code=0)
    newest = clone.run("state", "history", "--limit", "1", "--json", code=0).document["runs"][0]
    assert (newest["command"], newest["counts"]) == ("state rekey", {"rekey": 1})
    clone.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    assert "1 changed" in clone.apply().out
    assert "not verified" not in clone.plan(code=0).text
    clone.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[0]
    assert "The state has a different key" in clone.plan(code=1).err


def test_the_key_that_init_makes_signs_from_the_start(clone: Workplace, tmp_path: Path) -> None:
    """Also where no command finds that key by itself: else nobody with it could write."""
    del clone.environ["SYNAPSE_APPLY_STATE_KEY"]
    key_file = tmp_path / "keys" / "prod.key"
    clone.run("state", "init", "--key-file", str(key_file), code=0)
    clone.environ["SYNAPSE_APPLY_STATE_KEY_PROD"] = key_file.read_text()
    assert "not signed" not in clone.apply().text
    clone.unchanged()
    del clone.environ["SYNAPSE_APPLY_STATE_KEY_PROD"]
    assert "The state key is missing" in clone.apply(code=1).text


def test_what_was_pushed_without_any_signature(
    clone: Workplace, remote: Path, tmp_path: Path
) -> None:
    """Who has no key does not believe it either: a plan says so, and an apply stops."""
    clone.run("state", "init", code=0)
    clone.apply()
    commit = git(remote, "cat-file", "commit", REF)
    changed = re.sub(r'"signature":"[^"]+"', '"signature":""', commit)
    arguments = ("hash-object", "-t", "commit", "-w", "--stdin")
    git(remote, "update-ref", REF, git(remote, *arguments, input=f"{changed}\n".encode()))
    clone = another_clone(clone, remote, tmp_path)  # where nobody remembers the other commit
    del clone.environ["SYNAPSE_APPLY_STATE_KEY"]
    clone.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    assert "Warning: The state is not verified" in clone.plan(code=0).text
    assert "The state key is missing" in clone.apply(code=1).text


# A pace of minutes is waited for however slow the machine is, and nobody has minutes.
SHORT_SLEEPS = "import time\nsleep = time.sleep\ntime.sleep = lambda s: sleep(min(s, 0.3))\n"


def test_a_wait_for_the_pace_is_shown(clone: Workplace, tmp_path: Path) -> None:
    """On a terminal while it lasts, in a log by a note at the end."""
    clone.run("state", "init", code=0)
    clone.edit("synapse-apply.yaml", "?pace=0", "?pace=600")
    (tmp_path / "sitecustomize.py").write_text(SHORT_SLEEPS, encoding="utf-8")
    environ = {**environment(clone.environ), "PYTHONPATH": str(tmp_path), "COLUMNS": "120"}
    words = ("apply", "--auto-approve", "--parallelism", "1")
    installed = subprocess.Popen  # a fork has begun before, and takes no sitecustomize
    code, shown = run_at_terminal(clone.root, b"", environ, *words, process_type=installed)
    assert code == 0, shown
    waiting = r"Waiting (10m00|9m\d\d)s before the next write to the state \(git:origin\?ref=refs/"
    assert re.search(waiting, shown), shown
    assert re.search(r"It waited \d{3,} s", shown), shown
