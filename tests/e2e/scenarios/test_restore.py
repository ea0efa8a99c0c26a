"""`state restore`: whose backup it is, and what becomes of the state that it replaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from e2e.scenarios.workplace import STORAGE, Server, Workplace

from synapse_apply import SynapseApplyError, open_target

OTHER = "http://127.0.0.1:9"
LINEAGE = "11111111-2222-4333-8444-555555555555"


def set_targets(place: Workplace, server: Server, **of_prod: Any) -> None:
    """`prod` on the backend, with these settings; `other` elsewhere and `third` of a tenant."""
    token = {"token": {"env": "PROD_TOKEN"}}
    targets = {
        "prod": {"url": server.url, "tenant": "acme", **token, **of_prod},
        "other": {"url": OTHER, "tenant": "acme", **token},
        "third": {"url": server.url, "tenant": "third", **token},
    }
    head = {"apiVersion": "synapse-apply/v1", "kind": "Project", "manifests": ["manifests/"]}
    place.write(
        "synapse-apply.yaml", json.dumps({**head, "default_target": "prod", "targets": targets})
    )


def lineage(place: Workplace) -> str:
    found: str = place.run("state", "show", "--json", code=0).document["lineage"]
    return found


def state(place: Workplace, name: str = "prod.db") -> Path:
    return place.root / ".synapse-apply" / "state" / name


@pytest.fixture
def there(applied: Workplace, server: Server) -> Workplace:
    """Target prod applied and backed up as prod.bak; the others have empty states and backups."""
    set_targets(applied, server)
    applied.run("state", "backup", "prod.bak", code=0)
    for name in ("other", "third"):
        applied.run("state", "init", "-t", name, code=0)
        applied.run("state", "backup", "-t", name, f"{name}.bak", code=0)
    return applied


@pytest.mark.parametrize(
    ("backup", "whose"), [("other.bak", f"{OTHER} (tenant acme)"), ("third.bak", "(tenant third)")]
)
def test_another_backends_backup_is_refused(there: Workplace, backup: str, whose: str) -> None:
    """Another url, another tenant: exit 1, whose it is, and nothing is replaced."""
    before = state(there).read_bytes()
    ran = there.run("state", "restore", backup, "--auto-approve", code=1)
    assert "This backup belongs to a different backend" in ran.err
    assert whose in ran.err
    assert state(there).read_bytes() == before
    assert not list(state(there).parent.glob("*before-restore*"))
    there.unchanged()


def test_nobody_is_asked_about_a_backup_that_cannot_be_used(there: Workplace) -> None:
    """Off a terminal the same words come without --auto-approve."""
    assert "a different backend" in there.run("state", "restore", "other.bak", code=1).err


def test_a_pin_holds_against_a_backup_of_another_lineage(there: Workplace, server: Server) -> None:
    """Of the same backend, but of another state: what prod remembers stays."""
    state(there).unlink()
    there.run("state", "init", "--lineage", LINEAGE, code=0)
    set_targets(there, server, state={"lineage": LINEAGE})
    before = state(there).read_bytes()
    ran = there.run("state", "restore", "prod.bak", "--auto-approve", code=1)
    assert "not from the state that the project file pins" in ran.err
    assert f"pins lineage {LINEAGE}" in ran.err
    assert state(there).read_bytes() == before


def test_a_pinned_backup_replaces_a_state_made_by_mistake(there: Workplace, server: Server) -> None:
    """The pin says which is right; what was wrong is told and kept."""
    pinned = lineage(there)
    state(there).unlink()
    there.run("state", "init", code=0)
    set_targets(there, server, state={"lineage": pinned})
    assert (
        "A different state was replaced"
        in there.run("state", "restore", "prod.bak", "--auto-approve").err
    )
    assert state(there, "prod.db.before-restore").exists()
    there.unchanged()


def test_a_state_made_anew_by_mistake_gives_way(there: Workplace) -> None:
    """Without a pin: a warning names both states, and the command that goes back."""
    right = lineage(there)
    state(there).unlink()
    there.run("state", "init", code=0)
    wrong = lineage(there)
    ran = there.run("state", "restore", "prod.bak", "--auto-approve", code=0)
    kept = f"{state(there)}.before-restore"
    assert "A different state was replaced" in ran.err
    assert f"lineage {wrong} and 0 objects, the backup has lineage {right} and 3 objects" in ran.err
    assert f"`synapse-apply state restore {kept} -t prod`" in ran.err
    assert f"The replaced state is kept as {kept}.\n" in ran.out
    there.unchanged()
    there.run("state", "restore", kept, "--auto-approve", code=0)
    assert lineage(there) == wrong


def test_every_kept_state_is_named_and_none_is_overwritten(there: Workplace) -> None:
    """The first of them is still what it was after the third restore."""
    there.run("state", "rm", "storage/raw-data", code=0)
    first = there.run("state", "restore", "prod.bak", "--auto-approve", code=0)
    assert "Warning" not in first.err
    kept = state(there, "prod.db.before-restore").read_bytes()
    for number in (2, 3):
        ran = there.run("state", "restore", "prod.bak", "--auto-approve", code=0)
        assert f"is kept as {state(there)}.before-restore-{number}.\n" in ran.out
    assert state(there, "prod.db.before-restore").read_bytes() == kept
    there.run(
        "state", "restore", str(state(there, "prod.db.before-restore")), "--auto-approve", code=0
    )
    assert "storage/raw-data" not in there.run("state", "show", code=0).out


def test_a_backup_from_before_a_move_is_restored_at_the_former_url(
    there: Workplace, server: Server
) -> None:
    """As the message says: restore under the old url, then rebind."""
    set_targets(there, server, url=OTHER)
    ran = there.run("state", "restore", "prod.bak", "--auto-approve", code=1)
    assert "restore while the target still has its former url" in ran.err
    set_targets(there, server)
    there.run("state", "restore", "prod.bak", "--auto-approve", code=0)
    set_targets(there, server, url=OTHER)
    there.run("state", "rebind", "--auto-approve", code=0)


def test_the_embedded_backend_takes_only_what_is_of_its_data_set(there: Workplace) -> None:
    """After a reset the old objects are gone, and a state of them would be wrong."""
    there.apply("-t", "embedded")
    there.run("state", "backup", "-t", "embedded", "embedded.bak", code=0)
    there.run("state", "restore", "-t", "embedded", "embedded.bak", "--auto-approve", code=0)
    there.run("emulator", "--reset", "--auto-approve", code=0)
    data = there.root / ".synapse-apply" / "embedded"
    before = sorted(data.glob("*"))
    ran = there.run("state", "restore", "-t", "embedded", "embedded.bak", "--auto-approve", code=1)
    assert "made for the embedded data set" in ran.err
    assert sorted(data.glob("*")) == before


def test_objects_that_the_backup_does_not_know_are_named(there: Workplace) -> None:
    """Their ids go with the replaced state, and an apply could make them again."""
    restored = there.run("state", "restore", "prod.bak", "--auto-approve", code=0)
    assert "lacks records" not in restored.text
    there.write(
        "manifests/more.yaml",
        "apiVersion: synapse-apply/v1\nkind: Storage\nmetadata: {name: more}\nspec: {name: More, "
        "provider: file_system, category: internal, configuration: {base_path: /more}}\n",
    )
    there.apply()
    text = " ".join(
        there.run("state", "restore", "prod.bak", "--auto-approve", code=0).text.split()
    )
    assert "The backup lacks records of the replaced state" in text
    assert "storage/more (id 2). The objects may still exist" in text
    assert "`synapse-apply import ADDRESS ID` records an object again." in text
    there.run("import", "storage/more", "2", code=0)
    there.unchanged()


def test_what_another_run_wrote_after_the_question_is_not_lost(there: Workplace) -> None:
    """Its calls may be open: nothing is replaced, and the next question shows what is there now."""
    there.write(
        "manifests/second.yaml", STORAGE.replace("raw-data", "second").replace("Raw data", "Second")
    )

    def agree(_: object) -> bool:
        there.apply()
        return True

    with open_target("prod", folder=there.root, environ=there.environ) as target:
        with pytest.raises(SynapseApplyError, match="The state changed after it was shown"):
            target.state.restore("prod.bak", confirm=agree)
        there.run("state", "show", "storage/second", code=0)
        restored = target.state.restore("prod.bak", confirm=lambda _: True)
    (warning,) = restored.warnings
    assert warning.summary == "The backup lacks records of the replaced state"
    assert "storage/second" in warning.detail
