"""Objects that somebody else manages: they must exist, may be depended on, and are never written."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from e2e.scenarios.workplace import (
    CONFIG,
    PLUGIN,
    RELEASE,
    STORAGE,
    Server,
    Workplace,
    project,
    sample,
)

EXTERNAL = "lifecycle: {external: true}\n"
STORAGE_OF_OTHERS = (
    "apiVersion: synapse-apply/v1\nkind: Storage\nmetadata: {name: raw-data}\n"
    f"{EXTERNAL}spec: {{name: Raw data}}\n"
)
PLUGIN_OF_OTHERS = (
    "apiVersion: synapse-apply/v1\nkind: Plugin\nmetadata: {name: yolo}\n"
    f"{EXTERNAL}spec: {{name: Yolo, code: yolo}}\n"
)
LOST_UPDATE = {"match": {"method": "PUT", "path": "/plugins/*"}, "do": {"reset": "before"}}
OWN_RELEASE = RELEASE.replace("1.0.0", "1.1.0")


@pytest.fixture
def other(applied: Workplace, server: Server, make: Callable[..., Workplace]) -> Workplace:
    """A second project on the backend where another one has applied the sample."""
    place = make(server, "other")
    place.write("manifests/plugin.yaml", PLUGIN_OF_OTHERS, OWN_RELEASE)
    place.write("manifests/storage.yaml", STORAGE_OF_OTHERS)
    place.write("plugins/yolo/config.yaml", CONFIG.replace("1.0.0", "1.1.0"))
    place.run("state", "init", code=0)
    return place


def test_a_plan_says_that_it_is_never_written(other):
    """By id, in text and JSON; its own release depends on the plugin, which is there."""
    planned = other.plan(code=0)
    assert ". storage/raw-data: external: exists as id " in planned.out
    assert "is never written" in planned.out
    assert "Plan: 1 to add, 0 to change, 0 to destroy." in planned.out
    rows = other.plan("--json", code=0).document["resource_changes"]
    actions = {row["address"]: row["change"]["actions"] for row in rows}
    assert [actions["storage/raw-data"], actions["plugin/yolo"]] == [["no-op"], ["no-op"]]


def test_only_what_is_ours_is_sent(other, server):
    """Nor is it recorded; a later plan is empty, whatever its owner changes."""
    before = server.objects("plugin"), server.objects("storage")
    other.apply()
    assert (server.objects("plugin"), server.objects("storage")) == before
    assert server.counts == (1, 2, 1)
    assert "storage/raw-data" not in other.run("state", "show", code=0).out
    other.unchanged()
    (plugin,) = server.objects("plugin")
    server.call("PATCH", f"_emulator/objects/plugin/{plugin['id']}/", {"description": "Else"})
    other.unchanged()
    other.run("drift", "--detailed-exitcode", code=0)


def test_it_must_exist(other, server):
    """The row is refused with the ways out; the rest is done."""
    other.edit("manifests/storage.yaml", "spec: {name: Raw data}", "spec: {name: No data}")
    own = STORAGE.replace("name: raw-data", "name: mine").replace("Raw data", "Mine")
    other.write("manifests/own.yaml", own)
    ran = other.apply(code=5)
    assert "! storage/raw-data cannot be applied: it is external and does not exist" in ran.out
    assert "to manage it here: remove lifecycle.external" in ran.out
    assert server.counts == (1, 2, 2)
    assert {row["body"]["name"] for row in server.objects("storage")} == {"Raw data", "Mine"}


def test_what_depends_on_a_missing_one_is_refused(make, serve):
    """Nothing of the plugin is made for the release of another."""
    server = serve("empty")
    place = make(server, "alone")
    place.write("manifests/plugin.yaml", PLUGIN_OF_OTHERS, RELEASE)
    place.write("manifests/storage.yaml", STORAGE_OF_OTHERS)
    place.run("state", "init", code=0)
    ran = place.apply(code=5)
    assert "! plugin/yolo cannot be applied: it is external and was not found" in ran.out
    assert "declare its id: metadata.id" in ran.out
    assert "! release/yolo@1.0.0 cannot be created: it depends on plugin/yolo" in ran.out
    assert server.writes == []


def test_an_object_is_handed_over(applied, other, server):
    """The recipe of docs/state.md: one forgets it, the other records it, both have no changes."""
    (storage,) = server.objects("storage")
    writes = server.writes
    applied.write("manifests/storage.yaml", STORAGE_OF_OTHERS)
    planned = applied.plan(code=0)
    assert ". storage/raw-data will be forgotten: external: somebody else manages it" in planned.out
    assert "Plan: 0 to add, 0 to change, 0 to destroy, 1 to forget." in planned.out
    applied.apply()
    other.write("manifests/storage.yaml", STORAGE)
    other.run("import", "storage/raw-data", str(storage["id"]), code=0)
    assert server.writes == writes
    applied.unchanged()
    other.apply()
    other.unchanged()
    # The former owner leaves the object alone for good, also with --prune and without its manifest.
    (applied.root / "manifests/storage.yaml").unlink()
    assert "No changes." in applied.plan("--prune", "--detailed-exitcode", code=0).out
    assert server.counts[2] == 1


def test_one_command_hands_over(applied, other, server):
    """With its releases and without a call; not while its manifest would make it again."""
    writes = server.writes
    sample(other)
    other.write("manifests/storage.yaml", STORAGE_OF_OTHERS)
    place = "--to", "prod", "--to-project", str(other.root / "synapse-apply.yaml")
    ran = applied.run("state", "mv", "plugin/yolo", *place, code=1)
    assert "The manifests still manage the object" in ran.err
    assert "manifests/plugin.yaml:" in ran.err
    assert "plugin/yolo" not in other.run("state", "show", code=0).out
    applied.write("manifests/plugin.yaml", PLUGIN_OF_OTHERS)
    ran = applied.run("state", "mv", "plugin/yolo", *place, code=0)
    assert ran.out == (
        "Moved plugin/yolo to plugin/yolo of target prod.\n"
        "Moved release/yolo@1.0.0 to release/yolo@1.0.0 of target prod.\n"
    )
    assert server.writes == writes
    applied.unchanged()
    other.unchanged()
    assert "move to prod" in applied.run("state", "history", "--json", code=0).out


def test_a_move_that_ended_halfway_is_completed(applied, other, server):
    """As after a kill between the two writes: both record it, and the same command ends it."""
    (storage,) = server.objects("storage")
    applied.write("manifests/storage.yaml", STORAGE_OF_OTHERS)
    other.write("manifests/storage.yaml", STORAGE)
    other.run("import", "storage/raw-data", str(storage["id"]), code=0)
    move = "state", "mv", "storage/raw-data", "--to", "prod", "--to-project"
    file = other.root / "synapse-apply.yaml"
    applied.run(*move, str(file), code=0)
    assert "storage/raw-data" not in applied.run("state", "show", code=0).out
    assert "storage/raw-data" not in other.plan(code=0).out
    ran = applied.run(*move, str(file), code=1)
    assert "storage/raw-data" in ran.err


def test_nothing_moves_while_a_call_may_act(applied, other, server):
    """Its effect would look like a change from outside in the other state."""
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    server.call("PUT", "_emulator/faults/", {"rules": [LOST_UPDATE]})
    applied.apply(code=7)
    server.call("PUT", "_emulator/faults/", {"rules": []})
    applied.write("manifests/plugin.yaml", PLUGIN_OF_OTHERS)
    other.write("manifests/plugin.yaml", PLUGIN, RELEASE)
    file = str(other.root / "synapse-apply.yaml")
    ran = applied.run("state", "mv", "plugin/yolo", "--to", "prod", "--to-project", file, code=1)
    assert "state settle plugin/yolo --wait" in ran.err
    assert "plugin/yolo" not in other.run("state", "show", code=0).out


def test_nothing_moves_to_another_tenant(applied, make, server):
    """Its ids are those of other objects."""
    applied.write("manifests/storage.yaml", STORAGE_OF_OTHERS)
    third = make(server, "third")
    third.write("synapse-apply.yaml", project(server.url, tenant="initech"))
    third.run("state", "init", code=0)
    file = str(third.root / "synapse-apply.yaml")
    ran = applied.run(
        "state", "mv", "storage/raw-data", "--to", "prod", "--to-project", file, code=1
    )
    assert "The targets have different backends or tenants" in ran.err
    assert "storage/raw-data" in applied.run("state", "show", code=0).out


@pytest.mark.parametrize("new", ["storage/detection", "plugin/Yolo_X"])
def test_nothing_moves_to_an_address_that_it_cannot_have(applied, other, new):
    """Its id is that of a stranger among the objects of another kind."""
    applied.write("manifests/plugin.yaml", PLUGIN_OF_OTHERS)
    before = applied.run("state", "show", code=0).out
    file = str(other.root / "synapse-apply.yaml")
    ran = applied.run(
        "state", "mv", "plugin/yolo", new, "--to", "prod", "--to-project", file, code=1
    )
    assert "cannot change the kind" in ran.err or "No manifest can have this address" in ran.err
    assert applied.run("state", "show", code=0).out == before
    assert "detection" not in (shown := other.run("state", "show", code=0).out)
    assert "Yolo_X" not in shown


def test_nothing_moves_to_its_own_state(applied):
    """It would wait for its own lock, and forget what it had recorded."""
    applied.write("manifests/storage.yaml", STORAGE_OF_OTHERS)
    ran = applied.run("state", "mv", "storage/raw-data", "--to", "prod", code=1)
    assert "Both targets have the same state" in ran.err
    assert "storage/raw-data" in applied.run("state", "show", code=0).out


def test_a_handover_stops_no_apply_and_passes_no_protection(applied, server):
    """All that is recorded may be handed over at once; a protected object may not."""
    applied.write("manifests/storage.yaml", STORAGE_OF_OTHERS)
    applied.write("manifests/plugin.yaml", PLUGIN_OF_OTHERS)
    document = json.loads(project(server.url))
    document["policy"] = {"rules": [{"rule": "protected", "addresses": ["storage"]}]}
    applied.write("synapse-apply.yaml", json.dumps(document))
    ran = applied.apply(code=5)
    assert "it is protected, so no change is allowed (policy: protected)" in ran.out
    applied.write("synapse-apply.yaml", project(server.url))
    applied.apply()
    assert "storage/raw-data" not in applied.run("state", "show", code=0).out


def test_no_plan_that_was_made_before_writes_it(applied, server):
    """Rows of a saved or reviewed plan do not come up once the object is external."""
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    applied.plan("--out", "saved", code=0)
    applied.plan("--out", "reviewed", code=0)
    writes = server.writes
    applied.write("manifests/plugin.yaml", PLUGIN_OF_OTHERS, RELEASE)
    applied.run("apply", "saved", code=4)
    applied.run("apply", "--reviewed", "reviewed", "--auto-approve")
    applied.apply("--adopt")
    assert server.writes == writes
    assert server.objects("plugin")[0]["body"]["description"] == "Finds things"


def test_import_refuses_it(other, server):
    """What is not managed here is not recorded here."""
    (storage,) = server.objects("storage")
    ran = other.run("import", "storage/raw-data", str(storage["id"]), code=1)
    assert "External objects are not recorded" in ran.err
    assert "storage/raw-data" not in other.run("state", "show").text


def test_a_pinned_id_finds_it(other, server):
    """By metadata.id, whatever its name is; an id that nothing has is refused."""
    (storage,) = server.objects("storage")
    pinned = STORAGE_OF_OTHERS.replace(
        "{name: raw-data}", f"{{name: raw-data, id: {storage['id']}}}"
    )
    other.write("manifests/storage.yaml", pinned)
    assert f". storage/raw-data: external: exists as id {storage['id']}" in other.plan(code=0).out
    other.write("manifests/storage.yaml", pinned.replace(f"id: {storage['id']}", "id: 9999"))
    assert "The pinned object does not exist" in other.plan(code=1).text


def test_other_storages_still_need_all_fields(other):
    """What an external one may leave out is asked of each other."""
    other.write("manifests/storage.yaml", STORAGE_OF_OTHERS.replace("true", "false"))
    ran = other.run("validate", code=1)
    assert "`spec` needs `provider`" in ran.text
    assert "`spec` needs `configuration`" in ran.text
    other.write("manifests/storage.yaml", STORAGE_OF_OTHERS.replace("{name: Raw data}", "{}"))
    assert "`spec` needs `name`" in other.run("validate", code=1).text
