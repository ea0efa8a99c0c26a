"""A state that somebody without its key has written: no view shows a live secret by it.

The record says that the field is no secret, and a pull request drops its name.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from attack.test_sensitive_marks import (
    CONFIGURATION,
    LIVE,
    assert_hidden,
    hide_variables,
    plugin,
    rotated_outside,
    server,
    views,
    views_by_hand,
    write,
)
from buckets.folders import open_folder_at
from buckets.servers import BucketServer
from contract.stores.git.repositories import make_checkout, make_remote
from e2e.scenarios.workplace import TOKEN, Server, Workplace, project
from git_repositories import git

from synapse_apply.model.address import Address
from synapse_apply.model.values import Mac
from synapse_apply.secrets.keys import StateKey
from synapse_apply.stores.chain.chain_log import make_unread_chain_store
from synapse_apply.stores.git.git_log import make_unstarted_git_store
from synapse_apply.stores.git.git_url import parse_git_url

__all__ = ["server"]

KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in range(2)]
ID = "5f1c2d60-0000-4000-8000-0123456789ab"
STATE_KEY = "SYNAPSE_APPLY_STATE_KEY"
EVIL = "&ref=refs/heads/evil"
SIGNATURES = {
    "forged": f"{StateKey(base64.b64decode(KEYS[0]), '').key_id}:{'0' * 64}",
    "of another key": f"deadbeefdeadbeef:{'0' * 64}",
    "none": "",
}
PLAIN = {"auth": {"token": "x", "user": "reader"}, "keys": ["x"], "quality": 0.8}


class Forger:
    """Signs with what is no digest of the key, and believes all that is there."""

    is_renewed = False

    def __init__(self, signature: str) -> None:
        self.signature = signature

    def sign_or_empty_without_key(self, content: str) -> str:
        del content
        return self.signature

    def is_genuine_or_none_if_uncheckable(self, content: str, signature: str) -> bool:
        del content, signature
        return True

    def describe_places_to_put_key(self) -> str:
        return ""


@pytest.fixture(params=["git", "bucket"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, server: Server, seaweed: BucketServer
) -> Workplace:
    """A checkout whose plugin is made, and whose branch `main` is the honest one."""
    remote = make_remote(tmp_path)
    environ = {"PROD_TOKEN": TOKEN, "CANARY": LIVE, "CANARY_KEYS": json.dumps([LIVE, "b"])}
    environ |= {STATE_KEY: KEYS[0], "XDG_CACHE_HOME": str(tmp_path / "cache"), **seaweed.environ}
    made = Workplace(make_checkout(tmp_path, remote), environ)
    url = "git:origin?pace=0" if request.param == "git" else seaweed.url()
    document = json.loads(project(server.url, state={"url": url}, settle_after=0.2))
    made.write("synapse-apply.yaml", json.dumps({**document, "project": {"id": ID}}))
    write(made, plugin())
    git(made.root, "add", "-A")
    git(made.root, "commit", "-q", "-m", "first")
    git(made.root, "push", "-q", "origin", "HEAD:main")
    made.run("state", "init", code=0)
    made.apply()
    hide_variables(made)
    return made


def read_url(place: Workplace) -> str:
    rules = json.loads((place.root / "synapse-apply.yaml").read_text(encoding="utf-8"))
    return str(rules["targets"]["prod"]["state"]["url"])


def forge_record(
    url: str,
    root: Path,
    signature: str,
    *,
    address: str = "plugin/yolo",
    target: str = "prod",
    copy: str = "",
    is_removed: bool = False,
) -> None:
    """The record has plain values where it had digests, or is gone.

    The state is the one at the url, or a copy of it that is put there first.
    """
    signer, environ = Forger(signature), BucketServer.environ
    store = (
        make_unstarted_git_store(parse_git_url(url, target), root, signer=signer)
        if url.startswith("git:")
        else make_unread_chain_store(open_folder_at(url, environ), signer=signer)
    )
    if copy:
        store.restore_backup_and_return_kept_path_or_empty(copy)
    with store.lock("forge"):
        record = store.find_record(Address.parse(address))
        assert record is not None
        applied, seen = (
            {path: "old" if type(value) is Mac else value for path, value in side.items()}
            for side in (record.applied, record.seen)
        )
        assert applied != record.applied
        if is_removed:
            store.remove_records(record.address)
        else:
            store.write_records(replace(record, applied=applied, seen=seen))
    store.close()


def forget_what_was_seen(place: Workplace, tmp_path: Path) -> None:
    """As a fresh runner."""
    place.environ["XDG_CACHE_HOME"] = str(tmp_path / "empty")


def lose_key(place: Workplace, key: str) -> None:
    if not key:
        del place.environ[STATE_KEY]


def assert_masked(place: Workplace, *more: str) -> None:
    """No view has the value; a plan says of each field that it is one that is not shown."""
    planned = place.plan("--report", "markdown=pr.md", *more)
    assert "(sensitive" in planned.text, planned.text
    assert "plugin/yolo" in planned.text
    drift = place.run("drift", "--json", *more)
    assert_hidden(place, planned, place.plan("--json", *more), drift)


@pytest.mark.parametrize("key", ["key", ""], ids=["with the key", "without"])
@pytest.mark.parametrize("signature", SIGNATURES.values(), ids=SIGNATURES.keys())
def test_an_entry_that_is_not_signed_with_the_key(
    place: Workplace, server: Server, tmp_path: Path, key: str, signature: str
) -> None:
    """Every view, by the settings of the pull request or of main; nothing is applied upon it."""
    forge_record(read_url(place), place.root, signature)
    forget_what_was_seen(place, tmp_path)
    lose_key(place, key)
    if signature:
        rotated_outside(server)
    write(place, plugin(lifecycle=None, configuration=PLAIN))
    assert_masked(place)
    assert_masked(place, "--project-from", "git:refs/remotes/origin/main")
    assert_hidden(place, *views(place), *views_by_hand(place), place.run("get", "plugin", "yolo"))
    writes = server.writes
    place.apply(code=1)
    assert server.writes == writes


@pytest.mark.parametrize("place", ["git"], indirect=True)
@pytest.mark.parametrize("key", ["key", ""], ids=["with the key", "without"])
@pytest.mark.parametrize("how", ["altered", "removed", "nothing there"])
def test_a_branch_that_the_pull_request_names(
    place: Workplace, tmp_path: Path, key: str, how: str
) -> None:
    """The true state is left alone: a copy of it, with another record or none, or no state."""
    url = read_url(place)
    if how != "nothing there":
        copy = str(tmp_path / "copy.db")
        place.run("state", "backup", copy, code=0)
        forge_record(url + EVIL, place.root, "", copy=copy, is_removed=how == "removed")
    lose_key(place, key)
    place.edit("synapse-apply.yaml", url, url + EVIL)
    write(place, plugin(lifecycle=None, configuration=PLAIN))
    if how == "altered":
        assert_masked(place)
    adopted = place.run("apply", "--adopt", "--auto-approve")
    assert adopted.code != 0
    assert_hidden(place, adopted, *views(place), *views_by_hand(place))


def test_a_provider_that_the_commit_describes_as_public(
    place: Workplace, tmp_path: Path, server: Server
) -> None:
    """A storage's key is a secret wherever its record may have said so."""
    place.environ["CANARY"] = LIVE
    rules = json.loads((place.root / "synapse-apply.yaml").read_text(encoding="utf-8"))
    closed = {"my": {"keys": {"host": {}, "door": {"secret": True}}}}
    place.write("synapse-apply.yaml", json.dumps({**rules, "providers": closed}))
    spec = {"name": "nas", "provider": "my", "category": "external"}
    head = {"apiVersion": "synapse-apply/v1", "kind": "Storage", "metadata": {"name": "nas"}}
    door = {"valueFrom": {"env": "CANARY"}}
    write(place, plugin(), {**head, "spec": {**spec, "configuration": {"host": "h", "door": door}}})
    place.apply("--only", "storage/nas")
    hide_variables(place)
    forge_record(read_url(place), place.root, SIGNATURES["forged"], address="storage/nas")
    forget_what_was_seen(place, tmp_path)
    opened = {"my": {"keys": {"host": {}, "door": {}}}}
    place.write("synapse-apply.yaml", json.dumps({**rules, "providers": opened}))
    write(place, {**head, "spec": {**spec, "configuration": {"host": "h", "door": "x"}}})
    shown = place.run("get", "storage", "id=1", "--json", code=0)
    planned = place.plan()
    assert "storage/nas" in planned.text
    assert_hidden(place, planned, place.plan("--json"), place.run("show", "storage/nas"), shown)


def test_a_genuine_state_shows_what_is_no_secret(place: Workplace) -> None:
    """With the key, values stay readable; without it, what changed is told, and no value."""
    write(place, plugin(configuration={**CONFIGURATION, "quality": 0.9}))
    assert "0.8 -> 0.9" in place.plan().text
    assert "quality = 0.8" in place.run("get", "plugin", "yolo", code=0).text
    lose_key(place, "")
    planned = place.plan()
    assert "0.8" not in planned.text
    assert "quality = (sensitive, changed)" in planned.text
    assert "changed outside" not in planned.text
    write(place, plugin())
    assert "quality" not in place.plan().text
    assert "free-form fields are not shown" in " ".join(planned.text.split())


def test_a_state_of_one_machine_needs_no_key(place: Workplace, tmp_path: Path) -> None:
    """Nobody else writes to it: its plans are readable whatever key is at hand."""
    copy = str(tmp_path / "copy.db")
    place.run("state", "backup", copy, code=0)
    place.edit("synapse-apply.yaml", read_url(place), copy)
    lose_key(place, "")
    write(place, plugin(configuration={**CONFIGURATION, "quality": 0.9}))
    assert "0.8 -> 0.9" in place.plan().text
    assert_hidden(place, *views(place), *views_by_hand(place))
