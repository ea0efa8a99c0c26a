"""What an export writes where: not through links, not twice to one file, and what it tells."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from e2e.scenarios.test_export import files, storages
from e2e.scenarios.workplace import project

NAS = {"name": "Raw", "provider": "file_system", "configuration": {"base_path": "/"}}


def one_storage(server: Any, name: str = "Raw") -> None:
    server.call("POST", "storages/", {**NAS, "name": name, "category": "internal"})


@pytest.mark.parametrize("more", [(), ("--force",)], ids=["unforced", "forced"])
@pytest.mark.parametrize(
    "link", ["m/storages/raw.yaml", "m/storages", "m/.schema", "inventory.yaml", "gone"]
)
def test_nothing_is_written_through_a_link(bare, server, tmp_path, link, more):
    """In place of a file or of a folder, also with --force; what it leads to stays as it was."""
    one_storage(server)
    place = bare(server)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "raw.yaml").write_text("theirs\n")
    at = place.root / link
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(outside if "." not in at.name[1:] else outside / "raw.yaml")
    before = files(place)
    out = "m"
    if link == "gone":
        at.unlink()
        at.symlink_to(tmp_path / "nowhere")
        out = link
    ran = place.run("export", "--out", out, *more, code=1)
    assert "Error: A link blocks the path" in ran.err
    assert f"{at} is a link to {at.resolve()}" in ran.err
    assert ("which does not exist" in ran.err) == (link == "gone")
    assert "Nothing was written." in ran.err
    assert files(place) == before
    assert [path.name for path in outside.iterdir()] == ["raw.yaml"]
    assert (outside / "raw.yaml").read_text() == "theirs\n"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("taken", ["m/storages/raw.yaml", "inventory.yaml"])
def test_a_pipe_in_the_way_is_not_waited_for(bare, server, taken):
    """It is an error, and nothing is written."""
    one_storage(server)
    place = bare(server)
    (place.root / taken).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(place.root / taken)
    for force in ((), ("--force",)):
        ran = place.run("export", "--out", "m", *force, code=1)
        assert "Error: A file cannot be read" in ran.err
        assert str(place.root / taken) in ran.err
        assert "Nothing was written." in ran.err


def test_a_folder_that_is_a_link_may_be_named(bare, server, tmp_path):
    """Whoever names it means what it leads to."""
    one_storage(server)
    place = bare(server)
    (tmp_path / "elsewhere").mkdir()
    (place.root / "m").symlink_to(tmp_path / "elsewhere")
    place.run("export", "--out", "m", code=0)
    assert (tmp_path / "elsewhere" / "storages" / "raw.yaml").exists()


@pytest.mark.parametrize(
    "inventory",
    ["m/storages/raw.yaml", "m/../m/storages/RAW.yaml", "m/.schema/manifest.schema.json"],
)
def test_an_inventory_takes_the_place_of_no_manifest(bare, server, inventory):
    """One of the two would be lost: refused before anything is written, also with --force."""
    one_storage(server)
    place = bare(server)
    ran = place.run("export", "--out", "m", "--inventory", inventory, "--force", code=1)
    assert "Error: Two files with one name" in ran.err
    assert not (place.root / "m").exists()


def test_a_file_where_a_folder_is_needed(bare, server):
    """Told as what it is."""
    one_storage(server)
    place = bare(server)
    place.write("m/storages", "a file\n")
    ran = place.run("export", "--out", "m", code=1)
    assert "Error: A file is where a folder is needed" in ran.err
    assert not (place.root / "inventory.yaml").exists()


def test_an_inventory_among_the_manifests_is_none_of_them(bare, server):
    """With `manifests: [.]`, or where somebody puts it there: it is passed over, and replaced."""
    one_storage(server)
    place = bare(server)
    settings = json.loads(project(server.url)) | {"manifests": ["."]}
    place.write("synapse-apply.yaml", json.dumps(settings))
    place.run("export", "--inventory", "manifests/inv.yaml", code=0)
    place.run("export", "--inventory", "inventory.yaml", code=0)
    place.run("validate", code=0)
    place.run("state", "init", code=0)
    place.run("import", "-f", "inventory.yaml", code=0)
    place.unchanged()
    one_storage(server, "More")
    place.run("export", "--force", code=0)
    assert "storage/more" in (place.root / "inventory.yaml").read_text()
    assert "apiVersion" in place.run("validate", "-f", "inventory.yaml", code=1).err


def test_what_is_exported_beside_the_manifests_is_added_to_them_first(bare, server):
    """A plan would want to forget what no manifest of the project declares."""
    one_storage(server)
    place = bare(server)
    ran = place.run("export", "--out", "new", code=0)
    assert "Add new to `manifests:` in synapse-apply.yaml (now: manifests/) first" in ran.out
    ran = place.run("export", "--out", "../new", "--inventory", "other.yaml", code=0)
    assert "to where synapse-apply.yaml has `manifests:` (manifests/) first" in ran.out
    for inside in ("manifests/new", "manifests"):
        ran = place.run("export", "--out", inside, "--inventory", f"{inside}.yaml", code=0)
        assert "`manifests:`" not in ran.out
    ran = place.run("export", "--out", "manifests/.new", "--inventory", "i.yaml", code=0)
    assert "Add manifests/.new to `manifests:`" in ran.out


def test_an_inventory_that_contradicts_is_not_replaced(bare, server):
    """The hint names the option that helps; another folder beside it would not."""
    one_storage(server)
    place = bare(server)
    place.run("export", code=0)
    one_storage(server, "More")
    kept = (place.root / "inventory.yaml").read_text()
    for old, new in (
        ("storage/raw", "storage/renamed"),
        ('id: "1"', 'id: "7"'),
        ("inventory", "x"),
    ):
        assert old in kept
        place.write("inventory.yaml", kept.replace(old, new))
        ran = place.run("export", "--out", "new", code=1)
        assert "Choose a different file with --inventory." in ran.err
        assert "--out" not in ran.err
        assert (place.root / "inventory.yaml").read_text() == kept.replace(old, new)
        assert not (place.root / "new").exists()
    place.run("export", "--out", "new", "--inventory", "new/inventory.yaml", code=0)
    place.run("export", "--out", "new", "--force", code=0)
    assert "storage/more" in (place.root / "inventory.yaml").read_text()


def test_a_second_export_adds_to_the_inventory(bare, server):
    """What an export says to run next ends well: rows that are there stay, and `import` reads all."""
    one_storage(server)
    place = bare(server)
    place.run("export", code=0)
    server.call("POST", "plugins/", {"name": "Alpha", "code": "alpha"})
    ran = place.run("export", "--ids", "plugin=1-400", "--only", "plugin", code=0)
    assert "inventory.yaml" in ran.out
    text = (place.root / "inventory.yaml").read_text()
    assert text.count("- address:") == 2
    assert "storage/raw" in text
    assert "plugin/alpha" in text
    place.write("inventory.yaml", f"# ours\n{text}")
    place.run("export", "--ids", "plugin=1", code=0)
    assert (place.root / "inventory.yaml").read_text() == f"# ours\n{text}"
    place.run("state", "init", code=0)
    place.run("import", "-f", "inventory.yaml", code=0)
    place.unchanged()


def test_a_release_alone_names_its_plugin_by_id(bare, server):
    """No manifest declares that plugin, so its name would mean nothing."""
    server.call("POST", "plugins/", {"name": "Alpha", "code": "alpha"})
    server.call("POST", "plugin_releases/", {"plugin": 1, "version": "1.0.0"})
    place = bare(server)
    place.run("export", "--ids", "release=1", "--only", "release", code=0)
    text = (place.root / "manifests/releases/id=1@1.0.0.yaml").read_text()
    assert "  plugin:\n    id: 1\n" in text
    place.run("validate", code=0)
    place.run("state", "init", code=0)
    place.run("import", "-f", "inventory.yaml", code=0)
    place.unchanged()


def test_a_release_of_a_recorded_plugin_names_it(applied, server):
    """Its plugin is declared already."""
    server.call("POST", "plugin_releases/", {"plugin": 1, "version": "2.0.0"})
    wanted = ("--ids", "release=2", "--only", "release", "--unmanaged")
    applied.run("export", *wanted, "--out", "manifests/more", code=0)
    assert "plugin: yolo" in (applied.root / "manifests/more/releases/yolo@2.0.0.yaml").read_text()
    applied.run("validate", code=0)


def test_secrets_that_a_server_does_not_show_are_told(serve, bare):
    """Each storage that may have some, with what to write, which is what the server keeps."""
    server = serve(secrets="omitted")
    storages(server, 5)
    place = bare(server)
    ran = place.run("export", code=3)
    shows = (
        "may be missing, because the server shows no secrets. Declare each secret of the object as"
    )
    live = "{valueFrom: {live: true}}"
    keys = "access_key, access_key_id, secret_access_key, secret_key"
    assert f"storage/no: configuration: {keys} {shows} {live}" in ran.out
    assert f"storage/1e3: configuration: private_key, private_key_passphrase {shows}" in ran.out
    assert f"storage/raw-data: configuration: secrets {shows} {live}" in ran.out
    assert "storage/storage-4" not in ran.out.partition("Left out")[2]
    written = (place.root / "manifests/storages/no.yaml").read_text()
    declared = written + f"    access_key_id: {live}\n    secret_access_key: {live}\n"
    place.write("manifests/storages/no.yaml", declared)
    place.run("state", "init", code=0)
    place.run("import", "-f", "inventory.yaml", code=0)
    place.unchanged()


def test_nothing_is_told_of_secrets_where_the_server_shows_them(serve, bare):
    """Masked or plain: what stands in no answer is not there."""
    server = serve(secrets="masked")
    storages(server, 5)
    assert "may be missing" not in bare(server).run("export", code=0).out
