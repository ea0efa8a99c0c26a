"""A state without a key moves to a store in which nothing unsigned is believed."""

from __future__ import annotations

import base64
from contextlib import closing
from pathlib import Path

import pytest
from at_terminal import run_at_terminal
from contract.stores.git.repositories import make_remote, open_git_at
from e2e.scenarios.workplace import Server, Workplace, project, sample
from installed import environment

from synapse_apply.stores.snapshot import copy_and_verify_state_under_source_lock
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store

KEY = base64.b64encode(bytes(32)).decode()
UNSIGNED = "The state has an entry that is not signed with its key"


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return make_remote(tmp_path)


@pytest.fixture
def keyless(place: Workplace, server: Server, tmp_path: Path) -> Workplace:
    """A project that was applied to prod and embedded, and has lost the keys of both."""
    place.write("synapse-apply.yaml", project(server.url, settle_after=1))
    sample(place)
    place.run("state", "init", code=0)
    for target in ("prod", "embedded"):
        place.run("apply", "-t", target, "--auto-approve", code=0)
        (place.root / ".synapse-apply" / "state" / f"{target}.key").unlink()
    place.environ |= {"HOME": str(tmp_path / "alice"), "XDG_CONFIG_HOME": ""}
    (tmp_path / "alice").mkdir()
    return place


def keep_state_at(place: Workplace, target: str, remote: Path) -> None:
    """As somebody writes it by hand."""
    state = f'"state": {{"url": "{url_of(remote)}"}}'
    if target == "prod":
        place.edit("synapse-apply.yaml", '"settle_after": 1', f'"settle_after": 1, {state}')
    else:
        declared = f'"targets": {{"{target}": {{{state}}}, '
        place.edit("synapse-apply.yaml", '"targets": {', declared)


def url_of(remote: Path) -> str:
    return f"git:file://{remote}?pace=0&ref=refs/synapse-apply/state/prod"


def test_off_a_terminal_it_stays_where_it_is(keyless: Workplace, remote: Path) -> None:
    """With the way out, which is enough."""
    refused = " ".join(keyless.run("state", "backup", "--to", url_of(remote), code=1).text.split())
    assert "There is no state key for a state that several machines share" in refused
    assert "`openssl rand -base64 32`, put the result into SYNAPSE_APPLY_STATE_KEY_PROD" in refused
    assert not open_git_at(remote).exists()
    keyless.environ["SYNAPSE_APPLY_STATE_KEY_PROD"] = KEY
    keyless.run("state", "backup", "--to", url_of(remote), code=0)
    keep_state_at(keyless, "prod", remote)
    assert UNSIGNED not in keyless.plan(code=0).text


def test_at_a_terminal_a_key_is_made(keyless: Workplace, remote: Path) -> None:
    """In the user's folder, under an id that the project file has then."""
    words = ("state", "backup", "--to", url_of(remote), "--color=never")
    code, shown = run_at_terminal(keyless.root, b"", environment(keyless.environ), *words)
    assert code == 0, shown
    (key,) = Path(keyless.environ["HOME"]).glob(".config/synapse-apply/keys/prod-*.key")
    assert f"The state key is in {key}." in shown
    assert f"gh secret set SYNAPSE_APPLY_STATE_KEY_PROD --env prod < {key}" in shown
    assert key.stem.removeprefix("prod-") in (keyless.root / "synapse-apply.yaml").read_text()
    keep_state_at(keyless, "prod", remote)
    keyless.run("state", "rebind", "--auto-approve", code=0)
    planned = keyless.plan(code=0).text
    assert "Warning" not in planned
    keyless.unchanged()


def test_the_embedded_backend_makes_its_own(keyless: Workplace, remote: Path) -> None:
    """Nobody else has its data."""
    keyless.run("state", "backup", "-t", "embedded", "--to", url_of(remote), code=0)
    keep_state_at(keyless, "embedded", remote)
    assert "Warning" not in keyless.run("plan", "-t", "embedded", code=0).text


@pytest.mark.parametrize("target", ["prod", "embedded"])
def test_an_unsigned_copy_is_signed_by_a_rekey(
    keyless: Workplace, remote: Path, target: str
) -> None:
    """One that an earlier version made: `state rekey`, of somebody who answers for what it says."""
    states = keyless.root / ".synapse-apply" / "state"
    with (
        closing(make_unopened_sqlite_store(states / f"{target}.db")) as source,
        closing(open_git_at(remote)) as copy,
    ):
        copy_and_verify_state_under_source_lock(source, copy)
    keep_state_at(keyless, target, remote)
    keyless.environ["SYNAPSE_APPLY_STATE_KEY"] = KEY
    assert UNSIGNED in keyless.run("plan", "-t", target, code=0).text
    assert (
        "--allow-unsigned"
        in keyless.run("state", "rekey", "--auto-approve", "-t", target, code=1).err
    )
    keyless.run("state", "rekey", "--auto-approve", "--allow-unsigned", "-t", target, code=0)
    assert UNSIGNED not in keyless.run("plan", "-t", target, code=0).text
    keyless.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    assert "1 changed" in keyless.run("apply", "--auto-approve", "-t", target, code=0).out
