"""Every way out of a change that this API cannot make is tried as it is printed."""

from __future__ import annotations

import json
import re

import pytest
from e2e.scenarios.workplace import CONFIG, PLUGIN_V2, RELEASE_V2, Workplace

OBJECT = "_emulator/objects/storage/1/"


def ways_out(place: Workplace, address: str = "storage/raw-data", *more: str) -> list[str]:
    rows = place.plan("--json", *more, code=0).document["resource_changes"]
    (row,) = [row for row in rows if row["address"] == address]
    return [way for refusal in row["refusals"] for way in refusal["ways_out"]]


def run_printed(place: Workplace, way: str, *more: str) -> str:
    """Run the command that a way out names."""
    (typed,) = re.findall(r"`synapse-apply ([^`]+)`", way)
    return place.run(*typed.split(), *more, code=0).out


def change_live(server, base_path: str) -> None:
    server.call("PATCH", OBJECT, {"configuration": {"base_path": base_path}})


@pytest.fixture
def edited(applied):
    """A storage edited in Git."""
    applied.edit("manifests/storage.yaml", "/data/raw", "/data/new")
    return applied


@pytest.fixture
def drifted(applied, server):
    """The same field changed outside."""
    change_live(server, "/data/new")
    return applied


def test_of_an_edit_taking_it_back_in_git_comes_first(edited):
    assert ways_out(edited)[0] == "revert the change of configuration.base_path in Git"
    edited.edit("manifests/storage.yaml", "/data/new", "/data/raw")
    edited.unchanged()


def test_of_an_edit_nothing_offers_to_take_drift_over(edited):
    assert not any("drift --write" in way for way in ways_out(edited))


def test_an_edit_is_made_in_the_product_and_accepted(edited, server):
    (way,) = [way for way in ways_out(edited) if "in Synapse" in way]
    change_live(server, "/data/new")
    run_printed(edited, way, "--auto-approve")
    edited.unchanged()


def ignore_field(place: Workplace) -> None:
    place.edit(
        "manifests/storage.yaml",
        "spec:",
        "lifecycle: {ignore_changes: [/configuration/base_path]}\nspec:",
    )


def test_an_edit_is_left_as_it_is(edited):
    assert any(
        "lifecycle.ignore_changes: [/configuration/base_path]" in w for w in ways_out(edited)
    )
    ignore_field(edited)
    edited.apply()
    edited.unchanged()


def test_an_edit_is_declared_under_a_new_name(edited, server):
    assert "declare the resource under a new name" in ways_out(edited)
    edited.edit("manifests/storage.yaml", "name: Raw data", "name: New data")
    edited.edit("manifests/storage.yaml", "name: raw-data", "name: new-data")
    edited.apply()
    assert len(server.objects("storage")) == 2
    edited.unchanged()


def test_drift_alone_is_taken_over_first(drifted):
    first = ways_out(drifted)[0]
    assert "drift --write storage/raw-data" in first
    run_printed(drifted, first)
    assert "/data/new" in (drifted.root / "manifests/storage.yaml").read_text(encoding="utf-8")
    drifted.apply()
    drifted.unchanged()


def test_drift_alone_has_nothing_to_take_back_in_git(drifted):
    assert not any("revert the change" in way for way in ways_out(drifted))


def test_drift_alone_is_changed_back_in_the_product(drifted, server):
    assert "change it back in Synapse" in ways_out(drifted)
    change_live(server, "/data/raw")
    drifted.unchanged()


def test_drift_alone_is_left_on_both_sides(drifted):
    (way,) = [way for way in ways_out(drifted) if "state accept" in way]
    run_printed(drifted, way, "--auto-approve")
    drifted.unchanged()


def test_drift_and_an_edit_at_once_go_back_to_git(drifted):
    """Both sides moved: there is something to take back."""
    drifted.edit("manifests/storage.yaml", "/data/raw", "/data/other")
    assert ways_out(drifted)[0] == "revert the change of configuration.base_path in Git"


def give_by_variable(place: Workplace) -> None:
    document = json.loads((place.root / "synapse-apply.yaml").read_text())
    document["variables"] = {"path": {"default": "/data/raw"}}
    place.write("synapse-apply.yaml", json.dumps(document))
    place.edit("manifests/storage.yaml", "/data/raw", '"${var.path}"')


def give_by_pattern(place: Workplace) -> None:
    document = json.loads((place.root / "synapse-apply.yaml").read_text())
    patch = {"spec": {"configuration": {"base_path": "/data/raw"}}}
    document["targets"]["prod"]["overlays"] = {"storage/*": patch}
    place.write("synapse-apply.yaml", json.dumps(document))


@pytest.mark.parametrize("give", [give_by_variable, give_by_pattern])
def test_what_cannot_be_written_is_not_offered(applied, server, give):
    """What `drift --write` would refuse is offered by neither plan nor drift."""
    give(applied)
    applied.unchanged()
    change_live(server, "/data/new")
    assert "drift --write" not in " ".join(ways_out(applied))
    out = applied.run("drift", code=0).out
    assert "storage/raw-data has changed" in out
    assert "drift --write" not in out
    applied.run("drift", "--write", "storage/raw-data", code=1)


def test_drift_names_what_can_be_written_of_several(applied, server):
    give_by_variable(applied)
    change_live(server, "/data/new")
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "By hand"})
    out = applied.run("drift", code=0).out
    assert "`synapse-apply drift --write ADDRESS` writes the live values (of plugin/yolo)" in out
    applied.run("drift", "--write", "plugin/yolo", code=0)


def test_a_secret_is_not_offered_to_be_written(applied, server):
    applied.write(
        "manifests/s3.yaml",
        "apiVersion: synapse-apply/v1\nkind: Storage\nmetadata: {name: s3}\nspec:\n"
        "  name: s3\n  provider: amazon_s3\n  category: external\n  configuration:\n"
        "    bucket_name: b\n    access_key: {valueFrom: {env: RAW_KEY}}\n"
        "    secret_key: {valueFrom: {env: RAW_KEY}}\n    region_name: r\n",
    )
    settings = json.loads((applied.root / "synapse-apply.yaml").read_text())
    settings["targets"]["prod"]["allow_env"] = ["RAW_*"]
    applied.write("synapse-apply.yaml", json.dumps(settings))
    applied.environ["RAW_KEY"] = "the-first-secret-of-tests"
    applied.apply()
    number = next(o["id"] for o in server.objects("storage") if o["body"]["name"] == "s3")
    at = f"_emulator/objects/storage/{number}/"
    server.call("PATCH", at, {"configuration": {"secret_key": "another-secret-of-tests"}})
    assert "drift --write" not in " ".join(ways_out(applied, "storage/s3"))
    assert "drift --write" not in applied.run("drift", code=0).out


@pytest.fixture
def on_v2(server, make):
    """A release of API v2, not locked."""
    place = make(server, api="v2")
    (place.root / "manifests/storage.yaml").unlink()
    unlocked = RELEASE_V2.replace("yolo, version", "yolo, locked: false, version")
    place.write("manifests/plugin.yaml", PLUGIN_V2, unlocked)
    place.write("plugins/yolo/config.yaml", CONFIG.replace("detection", "smart_tool"))
    place.run("state", "init", code=0)
    place.apply()
    return place


LOCKED = "release/yolo@1.0.0"


def test_a_lock_taken_out_of_git_is_only_taken_back_there(on_v2):
    on_v2.edit("manifests/plugin.yaml", "locked: false", "locked: true")
    on_v2.apply()
    on_v2.edit("manifests/plugin.yaml", "locked: true", "locked: false")
    ways = ways_out(on_v2, LOCKED)
    assert ways[0] == "revert the change of locked in Git"
    assert "in Synapse" not in " ".join(ways)
    on_v2.edit("manifests/plugin.yaml", "locked: false", "locked: true")
    on_v2.unchanged()


def lock_outside(server) -> None:
    (release,) = server.objects("release")
    server.call("PATCH", f"_emulator/objects/release/{release['id']}/", {"is_released": True})


def test_a_lock_made_outside_is_declared(on_v2, server):
    """The product cannot take it back either."""
    lock_outside(server)
    ways = ways_out(on_v2, LOCKED)
    assert "in Synapse" not in " ".join(ways)
    run_printed(on_v2, ways[0])
    assert "locked: true" in (on_v2.root / "manifests/plugin.yaml").read_text(encoding="utf-8")
    on_v2.apply()
    on_v2.unchanged()


def test_a_lock_that_is_held_as_drift_is_said_to_be_for_good(on_v2, server):
    settings = json.loads((on_v2.root / "synapse-apply.yaml").read_text())
    settings["targets"]["prod"]["on_drift"] = "hold"
    on_v2.write("synapse-apply.yaml", json.dumps(settings))
    lock_outside(server)
    out = on_v2.plan(code=0).out
    assert "nothing undoes it" in out
    assert "in Synapse" not in out
