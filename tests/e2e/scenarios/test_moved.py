"""`moved:` and `removed:` of the project file: addresses change, objects stay."""

from __future__ import annotations

import json

import pytest
from e2e.scenarios.workplace import CONFIG, PLUGIN, RELEASE, Workplace

MOVE = {"from": "plugin/yolo", "to": "plugin/detector"}


def says(place: Workplace, **more) -> None:
    """Adds to the project file."""
    path = place.root / "synapse-apply.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


@pytest.fixture
def renamed(applied: Workplace) -> Workplace:
    """Two releases are recorded, and the manifests call the plugin another name."""
    applied.write("plugins/yolo/config.yaml", CONFIG.replace("1.0.0", "1.1.0"))
    newer = RELEASE.replace("1.0.0", "1.1.0")
    applied.write("manifests/plugin.yaml", PLUGIN, newer)
    applied.apply()
    applied.write(
        "manifests/plugin.yaml",
        PLUGIN.replace("name: yolo}", "name: detector}"),
        newer.replace("plugin: yolo", "plugin: detector"),
    )
    return applied


def test_a_plugin_moves_with_its_releases(renamed, server):
    """Nothing is sent; the state has the new names, history too; again is nothing."""
    refused = renamed.plan(code=0).out
    assert "moved: [{from: plugin/yolo, to: plugin/detector}]" in refused
    says(renamed, moved=[MOVE])
    sent = server.writes
    planned = renamed.plan("--detailed-exitcode", code=2).out
    assert "  # plugin/yolo has moved to plugin/detector\n" in planned
    assert "  # release/yolo@1.0.0 has moved to release/detector@1.0.0\n" in planned
    assert "Plan: 0 to add, 0 to change, 0 to destroy." in planned
    assert "plugin/detector" not in renamed.run("state", "show", code=0).out
    assert "# plugin/yolo has moved to plugin/detector" in renamed.apply().out
    listed = renamed.run("state", "show", code=0).out
    assert "release/detector@1.1.0" in listed
    assert "yolo" not in listed
    renamed.unchanged()
    renamed.apply()
    assert server.writes == sent
    says(renamed, moved=[])
    renamed.unchanged()


def test_a_move_and_a_change_at_once(renamed, server):
    """The record is renamed first, then the object is updated, not made anew."""
    says(renamed, moved=[MOVE])
    renamed.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    document = renamed.plan("--json", code=0).document
    assert document["moved"][0] == MOVE
    assert document["summary"]["change"] == 1
    assert "0 added, 1 changed, 0 destroyed" in renamed.apply().out
    assert server.counts == (1, 2, 1)
    renamed.unchanged()


def test_a_saved_plan_has_its_moves(renamed):
    """It carries them out; one that has none is stale once there are some."""
    says(renamed, moved=[MOVE])
    renamed.plan("--out", "with.plan", code=0)
    says(renamed, moved=[])
    renamed.plan("--out", "without.plan", code=0)
    says(renamed, moved=[MOVE])
    for typed in (["without.plan"], ["--reviewed", "without.plan"]):
        stale = renamed.run("apply", *typed, code=4)
        assert "plugin/yolo to plugin/detector" in stale.err
    assert "plugin/yolo" in renamed.run("state", "show", code=0).out
    assert "has moved to" in renamed.run("apply", "with.plan", code=0).out
    renamed.unchanged()
    renamed.run("apply", "with.plan", code=4)
    assert "No changes" in renamed.run("apply", "--reviewed", "with.plan", code=0).out


def test_a_guard_that_stops_the_apply_stops_the_moves(renamed):
    """Nothing is renamed for an apply that does not begin."""
    says(renamed, moved=[MOVE], guards={"min_objects": 1, "max_share": 0.0})
    (renamed.root / "manifests/storage.yaml").unlink()
    assert "Many recorded objects" in renamed.apply(code=5).err
    assert "plugin/yolo" in renamed.run("state", "show", code=0).out


def test_what_is_removed_is_forgotten_and_no_guard_minds(applied, server):
    """All at once, with the strictest guards; the objects stay; again is nothing."""
    says(
        applied,
        removed=[{"address": "plugin/yolo"}, {"address": "storage/raw-data"}],
        guards={"min_objects": 1, "max_share": 0.0},
    )
    assert "Removed and still declared" in applied.run("validate", code=1).err
    (applied.root / "manifests/storage.yaml").unlink()
    (applied.root / "manifests/plugin.yaml").unlink()
    planned = applied.plan(code=0).out
    assert (
        ". release/yolo@1.0.0 will be forgotten: listed under `removed:` in the project file"
        in planned
    )
    assert "3 to forget" in planned
    applied.apply()
    assert server.counts == (1, 1, 1)
    assert "storage" not in applied.run("state", "show", code=0).out
    applied.unchanged()
