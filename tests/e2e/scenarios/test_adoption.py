"""What exists already: adopted by name, by code and version, by id, or refused as ambiguous."""

from __future__ import annotations

import shutil

from e2e.scenarios.workplace import PLUGIN, RELEASE, Server

PLUGIN_BODY = {
    "name": "Yolo",
    "code": "yolo",
    "description": "Finds things",
    "version": "1.0.0",
    "category": "pre_annotation",
    "configuration": {"parameters": {"quality": {"type": "float", "default": 0.8}}},
}
STORAGE_BODY = {
    "name": "Raw data",
    "provider": "file_system",
    "category": "internal",
    "configuration": {"base_path": "/data/raw"},
}


def publish(server: Server, plugin: int = 1, version: str = "1.0.0", **more) -> None:
    body = {"plugin": plugin, "version": version, "changelog": "First", "is_stable": True, **more}
    server.call("POST", "plugin_releases/", body)


def test_everything_that_exists_is_adopted(ready, server):
    """A storage by its name, a release by code@version, a plugin by its release; no second copy."""
    server.call("POST", "storages/", STORAGE_BODY)
    server.call("POST", "plugins/", PLUGIN_BODY)
    publish(server)
    ran = ready.plan(code=0)
    assert "Plan: 3 to import, 0 to add, 0 to change, 0 to destroy." in ran.out
    assert "its published bytes are unverified" in ran.out
    assert "A non-interactive `apply` needs `--adopt` to import these objects." in ran.err
    assert "--adopt" in ready.apply(code=5).err
    sent = server.writes
    ready.apply("--adopt")
    assert server.writes == sent
    assert server.counts == (1, 1, 1)
    ready.unchanged()


def test_what_differs_is_changed_with_the_adoption(ready, server):
    """A plugin can be updated; a storage that differs cannot, and says how to go on."""
    server.call("POST", "storages/", {**STORAGE_BODY, "configuration": {"base_path": "/old"}})
    server.call("POST", "plugins/", {**PLUGIN_BODY, "description": "old words"})
    publish(server)
    ran = ready.apply("--adopt", code=5)
    assert "! storage/raw-data cannot be imported: configuration.base_path" in ran.out
    assert "`synapse-apply import storage/raw-data 1`" in ran.out
    (plugin,) = server.objects("plugin")
    assert plugin["body"]["description"] == "Finds things"
    assert server.counts == (1, 1, 1)


def test_two_storages_of_one_name(ready, server):
    """Nobody can say which is meant: an error with both ids, until one is imported."""
    for _ in range(2):
        server.call("POST", "storages/", STORAGE_BODY)
    ran = ready.apply("--adopt", code=1)
    assert "Several live objects have one natural key" in ran.text
    assert "ids 1, 2" in ran.text
    assert server.counts == (0, 0, 2)
    ready.run("import", "storage/raw-data", "2", code=0)
    ready.apply("--adopt")
    assert server.counts == (1, 1, 2)
    ready.unchanged()


def test_a_pinned_id(ready, server):
    """metadata.id says which one is meant."""
    for _ in range(2):
        server.call("POST", "storages/", STORAGE_BODY)
    ready.edit("manifests/storage.yaml", "{name: raw-data}", "{name: raw-data, id: 2}")
    ready.apply("--adopt")
    assert "2" in ready.run("state", "show", code=0).out
    ready.unchanged()
    ready.edit("manifests/storage.yaml", "id: 2", "id: 9")
    ran = ready.apply(code=1)
    assert "id 9" in ran.text or "is 9" in ran.text
    assert server.counts == (1, 1, 2)


def test_a_plugin_without_releases_is_not_found_and_the_server_says_so(ready, server):
    """v1 cannot list plugins: the unique code stops a second one, and the message helps."""
    server.call("POST", "plugins/", PLUGIN_BODY)
    ran = ready.apply(code=3)
    assert "import plugin/yolo" in ran.text
    assert server.counts == (1, 0, 1)
    ready.run("import", "plugin/yolo", "1", code=0)
    ready.apply()
    assert server.counts == (1, 1, 1)
    ready.unchanged()


def test_a_plugin_is_found_where_plugins_are_listed(serve, make):
    """A backend with a plugin list needs no release to find one."""
    server = serve(plugin_list="list")
    place = make(server)
    place.run("state", "init", code=0)
    server.call("POST", "plugins/", PLUGIN_BODY)
    place.apply("--adopt")
    assert server.counts == (1, 1, 1)
    place.unchanged()


def test_plugins_of_one_name_where_plugins_are_listed(serve, make):
    """Without a code the name is the key, and it may belong to several."""
    server = serve(plugin_list="list")
    place = make(server)
    place.write("manifests/plugin.yaml", PLUGIN.replace("  code: yolo\n", ""))
    place.run("state", "init", code=0)
    for _ in range(2):
        server.call("POST", "plugins/", {"name": "Yolo"})
    assert "Several live objects" in place.apply("--adopt", code=1).text
    assert server.counts == (2, 0, 0)


def test_import_then_accept(ready, server):
    """What cannot be changed here is taken as settled."""
    server.call("POST", "storages/", {**STORAGE_BODY, "configuration": {"base_path": "/old"}})
    ready.run("import", "storage/raw-data", "1", code=0)
    assert "! storage/raw-data" in ready.apply(code=5).out
    ready.run("state", "accept", "storage/raw-data", "--auto-approve", code=0)
    ready.unchanged()
    ready.edit("manifests/storage.yaml", "/data/raw", "/data/newer")
    assert "! storage/raw-data" in ready.apply(code=5).out


def test_the_inventory_brings_everything_back(applied, server):
    """inventory, a lost state, init, import -f: nothing left to do and nothing made twice."""
    listed = applied.run("state", "show", "--inventory", code=0).out
    shutil.rmtree(applied.root / ".synapse-apply")
    applied.write("inventory.yaml", listed)
    applied.run("state", "init", code=0)
    ran = applied.run("import", "-f", "inventory.yaml", code=0)
    assert "3 imported" in ran.out
    applied.unchanged()
    applied.apply()
    assert server.counts == (1, 1, 1)


def test_the_inventory_knows_superseded_releases(applied, server):
    """History comes back as history."""
    applied.edit("plugins/yolo/config.yaml", "1.0.0", "1.1.0")
    applied.write("manifests/plugin.yaml", PLUGIN, RELEASE.replace("1.0.0", "1.1.0"))
    applied.edit("manifests/plugin.yaml", '"1.0.0"\n  category', '"1.1.0"\n  category')
    applied.apply()
    listed = applied.run("state", "show", "--inventory", code=0).out
    assert "release/yolo@1.0.0" in listed
    shutil.rmtree(applied.root / ".synapse-apply")
    applied.write("inventory.yaml", listed)
    applied.run("state", "init", code=0)
    applied.run("import", "-f", "inventory.yaml", code=0)
    applied.unchanged()
    assert applied.plan().out == "No changes. Live state matches the configuration.\n"
    assert server.counts == (1, 2, 1)


def test_an_inventory_with_a_wrong_row_imports_nothing(applied):
    """All or nothing, with every finding."""
    shutil.rmtree(applied.root / ".synapse-apply")
    applied.write(
        "inventory.yaml",
        "inventory:\n- {address: storage/raw-data, id: 1}\n- {address: plugin/yolo, id: 77}\n"
        "- {address: what/ever, id: 1}\n",
    )
    applied.run("state", "init", code=0)
    ran = applied.run("import", "-f", "inventory.yaml", code=1)
    assert "no plugin with id 77" in ran.err
    assert "what/ever" in ran.err
    assert "storage, plugin, release" in ran.err
    assert "storage/raw-data" not in applied.run("state", "show", code=0).out


def test_imports_that_contradict_the_state(applied, server):
    """An address that is taken, an object that has an address."""
    server.call("POST", "storages/", {**STORAGE_BODY, "name": "Other"})
    assert "is recorded with id 1" in applied.run("import", "storage/raw-data", "2", code=1).err
    taken = applied.run("import", "storage/second", "1", code=1)
    assert "state mv storage/raw-data storage/second" in taken.err
    assert "no storage with id 99" in applied.run("import", "storage/x", "99", code=1).err


def test_a_wrong_object_that_was_imported_is_told(ready, server):
    """Another plugin under our address: its code cannot become ours."""
    server.call("POST", "plugins/", {**PLUGIN_BODY, "code": "other"})
    ready.run("import", "plugin/yolo", "1", code=0)
    ran = ready.apply(code=5)
    assert "! plugin/yolo" in ran.out
    assert "id 1 is not the declared object: its code differs" in ran.out
    (plugin,) = server.objects("plugin")
    assert plugin["body"]["code"] == "other"
    assert "`synapse-apply state rm plugin/yolo`, then `synapse-apply import plugin/yolo ID`" in (
        ran.out
    )
    server.call("POST", "plugins/", PLUGIN_BODY)
    ready.run("state", "rm", "plugin/yolo", code=0)
    ready.run("import", "plugin/yolo", "2", code=0)
    ready.apply()
    ready.unchanged()


def test_what_a_create_meets_is_adopted_only_where_that_was_asked_for(ready, server):
    """409 from the server: exit 3 with the command that goes on, or adopted with --adopt."""
    ready.write("manifests/plugin.yaml", PLUGIN)
    ready.apply()
    ready.write("manifests/plugin.yaml", PLUGIN, RELEASE)
    publish(server)
    first_look = {"method": "GET", "path": "/plugin_releases/yolo@1.0.0/", "nth": 1}
    late = {"rules": [{"match": first_look, "do": {"status": 404}}]}  # as if made after the plan
    server.call("PUT", "_emulator/faults/", late)
    said = ready.apply(code=3)
    assert "It matches the manifest." in said.text
    assert "`synapse-apply apply --adopt`" in said.text
    assert "release/" not in ready.run("state", "show", code=0).out
    server.call("PUT", "_emulator/faults/", late)
    said = ready.apply("--adopt")
    assert "The object already exists, and was adopted" in said.text
    assert "1 imported" in said.out
    ready.unchanged()
    assert server.counts == (1, 1, 1)
