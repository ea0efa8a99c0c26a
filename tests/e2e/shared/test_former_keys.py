"""Who has a former key of a state in Git, and writes with it."""

from __future__ import annotations

from pathlib import Path

from contract.stores.git.repositories import make_checkout, make_log
from e2e.scenarios.workplace import Workplace
from e2e.shared.test_state_in_git import KEYS, clone, remote

from synapse_apply.secrets.keys import KEY_VARIABLE, load_keys_and_restrict_files
from synapse_apply.secrets.signatures import StateKeySigner
from synapse_apply.stores.database import Batch, RowChange

__all__ = ["clone", "remote"]


def test_a_former_key_signs_nothing_any_more(
    clone: Workplace, remote: Path, tmp_path: Path
) -> None:
    """Though it is at hand after a rekey, since it must check what it digested."""
    clone.run("state", "init", code=0)
    clone.apply()
    clone.environ["SYNAPSE_APPLY_STATE_KEY_PROD"] = KEYS[1]
    assert "The state has a different key" in clone.plan(code=1).err
    clone.run("state", "rekey", "--auto-approve", code=0)
    assert "Warning" not in clone.plan(code=0).text
    folder = tmp_path / "leaver"
    folder.mkdir()
    keys = load_keys_and_restrict_files({KEY_VARIABLE: KEYS[0]})
    signer = StateKeySigner("link of a state", lambda: keys)
    log = make_log(make_checkout(folder, remote), signer=signer)
    position = log.read_since_position_or_anew("").position
    log._is_genuine = True  # to whoever writes it
    batch = Batch("forged", (RowChange("records", "storage/raw-data", None),))
    appended = log.append_or_none_if_overtaken(batch, position)
    assert appended is not None
    assert "is not signed with its key" in clone.plan().text
    refused = clone.apply(code=1).text
    assert "is not signed with its key" in refused
    # Nor by a state that names the former key: a rekey would put the new one under all of it.
    former_id = keys.all_keys[0].key_id
    key_row = RowChange("plans", "shared key", ("shared key", former_id))
    assert log.append_or_none_if_overtaken(Batch("more", (key_row,)), appended.position) is not None
    log.close()
    assert f"has key {former_id}" in " ".join(clone.plan(code=1).text.split())
    assert (
        "is not signed with its key" in clone.run("state", "rekey", "--auto-approve", code=1).text
    )
