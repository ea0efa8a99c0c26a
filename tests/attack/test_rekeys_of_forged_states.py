"""A rekey signs nothing that somebody without the state key has written."""

from __future__ import annotations

import base64
import json
import time
import uuid
from pathlib import Path

import pytest
from at_terminal import run_at_terminal
from contract.stores.git.repositories import make_checkout, make_remote
from e2e.scenarios.conftest import copied_once, place, serve, server
from e2e.scenarios.workplace import Ran, Server, Workplace, project, sample
from git_repositories import git
from installed import environment

from synapse_apply import SynapseApplyError, open_target
from synapse_apply.operations import rekey as rekey_module
from synapse_apply.stores.sql import SqlStore
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store

__all__ = ["copied_once", "place", "serve", "server"]

REF = "refs/synapse-apply/state/prod"
PROJECT = "5f1c2d60-0000-4000-8000-0123456789ab"
FORMER, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in range(2))
STRANGE = "deadbeefdeadbeef"
PLUGIN = """apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: new}
spec: {name: New, code: new, description: d, version: 1.0.0, author: a, category: c}
"""
BOTH = {"SYNAPSE_APPLY_STATE_KEY": FORMER, "SYNAPSE_APPLY_STATE_KEY_PROD": NEW}


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return make_remote(tmp_path)


@pytest.fixture
def clone(tmp_path: Path, remote: Path, server: Server, place: Workplace) -> Workplace:
    """A project whose state is in Git, applied under the former key."""
    environ = {**place.environ, "SYNAPSE_APPLY_STATE_KEY": FORMER, "HOME": str(tmp_path)}
    clone = Workplace(make_checkout(tmp_path, remote), environ)
    text = project(server.url, state={"url": "git:origin?pace=0"}, settle_after=1)
    clone.write("synapse-apply.yaml", json.dumps({**json.loads(text), "project": {"id": PROJECT}}))
    sample(clone)
    clone.run("state", "init", code=0)
    clone.apply()
    return clone


def key_id(remote: Path) -> str:
    """The id of the key that signed the newest entry."""
    return str(message_of(remote)["signature"]).partition(":")[0]


def message_of(remote: Path) -> dict[str, object]:
    text = git(remote, "log", "-1", "--format=%B", REF).strip().splitlines()[-1]
    document: dict[str, object] = json.loads(text)
    return document


def forge(remote: Path, signature: str, **claimed: str) -> None:
    """Push an entry that takes the storage's record out; `claimed` are rows of the plans table."""
    message, tip = message_of(remote), git(remote, "rev-parse", REF).strip()
    number = int(str(message["number"])) + 1
    changes = {"number": number, "previous": tip, "batch": str(uuid.uuid4())}
    listed = git(remote, "ls-tree", "-r", REF).splitlines()
    kept = [line for line in listed if "records/storage/" not in line]
    assert len(kept) == len(listed) - 1
    tree = make_tree(remote, kept)
    text = json.dumps({**message, **changes, "signature": signature}, sort_keys=True)
    line = text.replace(": ", ":").replace(", ", ",")
    body = f"synapse-apply: state prod, batch {number}\n\n{line}\n"
    commit = git(remote, "commit-tree", tree, "-p", tip, input=body.encode()).strip()
    git(remote, "update-ref", REF, commit)


def make_tree(remote: Path, lines: list[str]) -> str:
    """A tree with the files that `ls-tree -r` has listed."""
    files, folders = [], dict[str, list[str]]()
    for line in lines:
        head, _, path = line.partition("\t")
        top, slash, rest = path.partition("/")
        (folders.setdefault(top, []) if slash else files).append(
            f"{head}\t{rest if slash else path}"
        )
    files += [f"040000 tree {make_tree(remote, rows)}\t{top}" for top, rows in folders.items()]
    return git(remote, "mktree", input="".join(f"{row}\n" for row in files).encode()).strip()


def rekey(clone: Workplace, *typed: str, code: int, **keys: str) -> Ran:
    """Run it where nobody remembers an earlier entry, with these keys alone."""
    others = {name: value for name, value in clone.environ.items() if "STATE_KEY" not in name}
    fresh = Workplace(clone.root, {**others, **keys, "HOME": str(clone.root.parent / "fresh")})
    return fresh.run("state", "rekey", "--auto-approve", *typed, code=code)


@pytest.mark.parametrize("keys", [{"SYNAPSE_APPLY_STATE_KEY": FORMER}, BOTH], ids=["one", "both"])
@pytest.mark.parametrize("typed", [(), ("--allow-unsigned",)], ids=["plain", "allowed"])
def test_an_entry_that_its_key_did_not_sign_is_never_signed(
    clone: Workplace, remote: Path, keys: dict[str, str], typed: tuple[str, ...]
) -> None:
    """It is named, with the restore; the state stays as it is, whatever is allowed."""
    forge(remote, f"{key_id(remote)}:{'0' * 64}")
    tip = git(remote, "rev-parse", REF).strip()
    refused = " ".join(rekey(clone, *typed, code=1, **keys).err.split())
    assert "The state has an entry that is not signed with its key" in refused
    assert tip[:12] in refused
    assert "`synapse-apply state restore FILE" in refused
    assert git(remote, "rev-parse", REF).strip() == tip


@pytest.mark.parametrize("signature", ["former", f"{STRANGE}:{'0' * 64}", ""])
def test_what_nobody_can_verify_needs_more_than_yes(
    clone: Workplace, remote: Path, signature: str
) -> None:
    """With the new key alone, whatever key the entry names; said plainly, with counts and head."""
    forge(remote, signature.replace("former", f"{key_id(remote)}:{'0' * 64}"))
    tip = git(remote, "rev-parse", REF).strip()
    refused = " ".join(rekey(clone, code=1, SYNAPSE_APPLY_STATE_KEY=NEW).err.split())
    assert "The state cannot be verified" in refused
    assert f"up to commit {tip[:12]}" in refused
    assert "accept the state as genuine, with its 2 records" in refused
    assert "Set the former key as well as the new one: SYNAPSE_APPLY_STATE_KEY_PROD and " in refused
    assert "add --allow-unsigned" in refused
    assert git(remote, "rev-parse", REF).strip() == tip
    rekey(clone, "--allow-unsigned", code=0, SYNAPSE_APPLY_STATE_KEY=NEW)
    assert git(remote, "rev-parse", REF).strip() != tip


def test_an_entry_of_another_key_beside_the_true_one(clone: Workplace, remote: Path) -> None:
    """A strange id in the signature does not pass by the keys at hand either."""
    forge(remote, f"{STRANGE}:{'0' * 64}")
    for keys in ({"SYNAPSE_APPLY_STATE_KEY": FORMER}, BOTH):
        assert "cannot be verified" in rekey(clone, code=1, **keys).err


def test_at_a_terminal_it_is_a_question_of_its_own(clone: Workplace, remote: Path) -> None:
    """--auto-approve does not answer it."""
    tip = git(remote, "rev-parse", REF).strip()
    clone.environ["SYNAPSE_APPLY_STATE_KEY"] = NEW
    words = ("state", "rekey", "--auto-approve", "--color=never")
    code, shown = run_at_terminal(clone.root, b"no\n", environment(clone.environ), *words)
    assert code == 1, shown
    assert "Sign the entries of target prod without verifying them?" in shown
    assert git(remote, "rev-parse", REF).strip() == tip


def test_what_is_pushed_after_the_question_is_not_signed(clone: Workplace, remote: Path) -> None:
    """Somebody agreed to what was there."""
    shown, former = list[str](), key_id(remote)
    keys = {"SYNAPSE_APPLY_STATE_KEY": NEW, "HOME": str(clone.root.parent / "fresh")}

    def agree(_: object) -> bool:
        shown.append(git(remote, "rev-parse", REF).strip())
        forge(remote, f"{former}:{'0' * 64}")
        time.sleep(5.1)  # what was read stays good enough for 5 s
        return True

    with (
        open_target("prod", folder=clone.root, environ={**clone.environ, **keys}) as target,
        pytest.raises(SynapseApplyError, match="new entries that nobody has checked"),
    ):
        target.state.rekey(confirm_unverified=agree)
    assert [git(remote, "rev-parse", f"{REF}~1").strip()] == shown


def test_what_is_applied_while_it_signs_is_not_lost(
    clone: Workplace, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the former key it has no lock: the other machine's records stay, and nothing is signed."""
    keys = {"SYNAPSE_APPLY_STATE_KEY": NEW, "HOME": str(clone.root.parent / "fresh")}

    def apply_meanwhile(path: Path) -> SqlStore:
        clone.write("manifests/new.yaml", PLUGIN)
        assert "1 added" in clone.apply().out
        return make_unopened_sqlite_store(path)

    monkeypatch.setattr(rekey_module, "make_unopened_sqlite_store", apply_meanwhile)
    with (
        open_target("prod", folder=clone.root, environ={**clone.environ, **keys}) as target,
        pytest.raises(SynapseApplyError),
    ):
        target.state.rekey(confirm_unverified=lambda _: True)
    assert "plugin/new" in clone.run("state", "show", code=0).out
    clone.unchanged()


def test_the_rotation_of_the_page(clone: Workplace, remote: Path) -> None:
    """The former key beside the new one: nothing more is asked, and the new one is enough then."""
    assert "Warning" not in rekey(clone, code=0, **BOTH).err
    clone.environ["SYNAPSE_APPLY_STATE_KEY"] = NEW
    clone.unchanged()
    clone.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    assert "1 changed" in clone.apply().out
