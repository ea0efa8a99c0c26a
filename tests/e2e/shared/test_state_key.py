"""Which key a state has is told, and it is carried to the next machine without being shown."""

from __future__ import annotations

import base64
from pathlib import Path

from e2e.scenarios.workplace import Workplace

from .test_keys_of_shared_states import KEYS, second_machine, typed, users_key
from .test_state_in_git import another_clone, clone, remote

__all__ = ["clone", "remote"]


def test_the_next_machine_gets_the_key(team: Workplace, tmp_path: Path) -> None:
    """From the file that is named on the first to its place on the other; printed on none."""
    assert typed(team, "state", "init")[0] == 0
    team.apply()
    key = users_key(team)
    code, shown = typed(team, "state", "key")
    assert code == 0, shown
    assert f" from {key}." in shown
    assert "The state was created with this key." in shown
    assert f"gh secret set SYNAPSE_APPLY_STATE_KEY_PROD --env prod < {key}\n" in shown
    carried = tmp_path / "prod.key"
    carried.write_bytes(key.read_bytes())

    other = second_machine(team, "bob")
    lacking = other.run("state", "key", code=1).err
    assert "There is no state key" in lacking
    assert "`synapse-apply state key copy FILE" in lacking
    placed = other.run("state", "key", "copy", str(carried), code=0)
    assert f" is in {users_key(other)}." in placed.out
    assert users_key(other).stat().st_mode & 0o777 == 0o600
    assert "The key for this shared state is missing" not in other.plan(code=0).text
    other.unchanged()
    document = other.run("state", "key", "--json", code=0).document
    assert document["state_keys"] == [document["id"]]
    assert document["from"] == str(users_key(other))
    texts = (shown, placed.text, str(document))
    assert not any(key.read_text().strip() in text for text in texts)


def test_the_key_of_a_variable_is_put_in_its_place(
    clone: Workplace, remote: Path, tmp_path: Path
) -> None:
    """So that commands find it without the variable; a wrong one is put nowhere."""
    clone.environ["HOME"] = str(tmp_path / "home")
    clone.environ["XDG_CONFIG_HOME"] = ""
    (tmp_path / "home").mkdir()
    clone.run("state", "init", code=0)
    clone.apply()
    other = another_clone(clone, remote, tmp_path)
    other.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[1]
    assert "The state has a different key" in (other.run("state", "key", "copy", code=1).err)
    assert list((tmp_path / "home").rglob("*.key")) == []
    told = other.run("state", "key", code=0).out
    assert "The state was created with a different key: " in told
    assert KEYS[1] not in told

    clone.run("state", "key", "copy", code=0)
    del clone.environ["SYNAPSE_APPLY_STATE_KEY"]
    assert base64.b64decode(users_key(clone).read_text()) == base64.b64decode(KEYS[0])
    clone.unchanged()
    clone.run("state", "key", "copy", code=0)  # it is there already


def test_nothing_is_replaced(team: Workplace, tmp_path: Path) -> None:
    """Another key stays, and without the id of the project there is no place."""
    team.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[0]
    assert "`project.id` in the project file" in team.run("state", "key", "copy", code=1).err
    assert typed(team, "state", "rebind", answer=b"yes\n")[0] == 1  # there is no state yet
    assert typed(team, "state", "init")[0] == 0
    team.run("state", "key", "copy", code=0)
    users_key(team).write_text(KEYS[1])
    refused = team.run("state", "key", "copy", code=1).err
    assert " has another key. Nothing was written." in refused
    assert users_key(team).read_text() == KEYS[1]
    (tmp_path / "no.key").write_text("no key")
    assert "State key is " in team.run("state", "key", "copy", str(tmp_path / "no.key"), code=1).err


def test_a_file_goes_with_copy_alone(team: Workplace) -> None:
    """Beside `show` it would be ignored."""
    assert team.run("state", "key", "show", "x.key").code == 64
