"""`state show --inventory`, `export` and `import -f`: what an inventory says is recorded, or a finding."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from e2e.scenarios.test_adoption import PLUGIN_BODY
from e2e.scenarios.workplace import Workplace

DIGEST = "pkg1:sha256:" + "a" * 64


def lose_state(place: Workplace) -> None:
    shutil.rmtree(place.root / ".synapse-apply")
    place.run("state", "init", code=0)


def test_a_lost_state_knows_again_what_was_published(applied):
    """The digest comes back with the inventory, so changed bytes are still seen."""
    applied.write("inv.yaml", applied.run("state", "show", "--inventory", code=0).out)
    before = applied.run("state", "show", "release/yolo@1.0.0", "--json", code=0).document
    lose_state(applied)
    applied.run("import", "-f", "inv.yaml", code=0)
    after = applied.run("state", "show", "release/yolo@1.0.0", "--json", code=0).document
    assert after["digest"] == before["digest"]
    assert after["digest"].startswith("pkg1:sha256:")
    applied.write("plugins/yolo/plugin/main.py", "print('changed')\n")
    assert "release/yolo@1.0.0 has unreleased changes" in applied.plan(code=0).out


def test_what_the_server_says_of_a_digest_is_right(place, server):
    """Another one in the inventory is a finding at its row, and nothing is imported."""
    place.edit(
        "manifests/plugin.yaml", "  changelog: First\n", "  changelog: First\n  config: {}\n"
    )
    place.run("state", "init", code=0)
    place.apply()
    text = place.run("state", "show", "--inventory", code=0).out
    lose_state(place)
    place.write("inv.yaml", text.replace(text[text.index("pkg1:") :][: len(DIGEST)], DIGEST))
    ran = place.run("import", "-f", "inv.yaml", code=1)
    assert "The digest does not match\n  on inv.yaml:6:5" in ran.err
    assert f"the inventory has the digest {DIGEST}, but the server has pkg1:sha256:" in ran.err
    assert place.run("state", "show", "--json", code=0).document["records"] == []


ROWS = {
    "plugin/x": "row 2 of i.yaml: it is a string, 'plugin/x', but a row needs an address and an id",
    "null": "it is null, but a row needs an address and an id",
    "[]": "it is a list, but a row needs an address and an id",
    "{}": "row 5 of i.yaml: it has no address",
    "{address: plugin/w}": "row 6 of i.yaml (plugin/w): it has no id",
    '{address: plugin/w, id: ""}': "row 7 of i.yaml (plugin/w): it has no id",
    "{address: plugin/w, id: [1]}": "its id is a list",
    "{address: plugin/w, id: true}": "its id is a boolean",
    "{address: w, id: 1}": "an address is KIND/NAME",
    "{address: release/yolo@1.0.0, id: 1, digest: bogus}": "row 11 of i.yaml (release/yolo@1.0.0): "
    "the digest 'bogus' is not valid: a digest is ",
    "{address: plugin/yolo, id: 2, api: v2}": "plugin/yolo is in row 1 (line 2) and in row 12 of "
    "i.yaml, with id 1 and 2, api (none) and v2.",
}


def test_rows_that_cannot_be_used_are_told_with_their_places(ready):
    """Each with its line, in one run; nothing is recorded."""
    rows = ["{address: plugin/yolo, id: 1}", *ROWS]
    ready.write("i.yaml", "inventory:\n" + "".join(f"  - {row}\n" for row in rows))
    findings = ready.run("import", "-f", "i.yaml", code=1).err.split("Error: ")[1:]
    told = dict(zip(ROWS, findings, strict=True))
    for line, (row, words) in enumerate(ROWS.items(), 3):
        assert f"i.yaml:{line}:5" in told[row]
        assert words in " ".join(told[row].split())
    assert ready.run("state", "show", "--json", code=0).document["records"] == []


def show_release(place: Workplace) -> dict[str, Any]:
    found: dict[str, Any] = place.run("state", "show", "release/yolo@1.0.0", "--json").document
    return found


def test_what_is_recorded_keeps_what_is_known_of_its_bytes(applied):
    """A row that stands twice may be alike; without a digest it takes none away, nor brings another."""
    before = show_release(applied)
    row = "{address: release/yolo@1.0.0, id: 1"
    applied.write("i.yaml", f"inventory:\n  - {row}}}\n  - {row}, digest: null}}\n")
    applied.run("import", "-f", "i.yaml", code=0)
    after = show_release(applied)
    for name in ("digest", "created_at", "id"):
        assert after[name] == before[name]
    applied.unchanged()
    applied.write("plugins/yolo/plugin/main.py", "print('changed')\n")
    assert "release/yolo@1.0.0 has unreleased changes" in applied.plan(code=0).out
    applied.write("i.yaml", f"inventory:\n  - {row}, digest: '{DIGEST}'}}\n")
    said = " ".join(applied.run("import", "-f", "i.yaml", code=1).err.split())
    assert f"has the digest {DIGEST}, but the state has {before['digest']}" in said
    plugin = "{address: plugin/yolo, id: 1"
    applied.write("i.yaml", f"inventory:\n  - {plugin}, digest: '{DIGEST}'}}\n")
    assert "a plugin has none" in applied.run("import", "-f", "i.yaml", code=1).err


@pytest.mark.parametrize(
    ("name", "words"),
    [("yolo", "NAME@VERSION"), ("@1.0.0", "NAME@VERSION"), ("yolo@2.0.0", "is version 1.0.0")],
)
def test_an_address_that_does_not_fit_the_version(applied, name, words):
    """No manifest could ever declare it, or it would declare another release."""
    lose_state(applied)
    applied.write("i.yaml", f"inventory: [{{address: 'release/{name}', id: 1}}]\n")
    assert words in applied.run("import", "-f", "i.yaml", code=1).err
    assert applied.run("state", "show", "--json", code=0).document["records"] == []


def test_one_object_under_two_addresses_and_a_read_that_fails(ready, server):
    """Nothing is imported, which is said."""
    server.call("POST", "storages/", {"name": "Raw data", "provider": "file_system",
                "category": "internal", "configuration": {"base_path": "/data/raw"}})  # fmt: skip
    rows = "  - {address: storage/a, id: 1}\n"
    ready.write("i.yaml", f"inventory:\n{rows}{rows.replace('/a', '/b')}")
    assert "storage/b" in ready.run("import", "-f", "i.yaml", code=1).err
    refused = {"match": {"method": "GET", "path": "/storages/1/"}, "do": {"status": 403}}
    server.call("PUT", "_emulator/faults/", {"rules": [refused]})
    assert "Nothing was imported" in ready.run("import", "storage/a", "1", code=1).err
    assert ready.run("state", "show", "--json", code=0).document["records"] == []


def test_an_id_of_another_api_version_says_what_works(ready, server):
    """A plugin that API v1 may not find needs its id; what is surely found is left out."""
    server.call("POST", "plugins/", PLUGIN_BODY)
    ready.write(
        "i.yaml",
        "inventory:\n"
        "  - {address: plugin/yolo, id: 1, api: v2}\n"
        "  - {address: storage/raw-data, id: 1, api: v2}\n",
    )
    ran = ready.run("import", "-f", "i.yaml", code=1)
    plugin, storage = ran.err.split("Error: ")[1:]
    assert "plugin/yolo: its id belongs to API v2" in plugin
    assert "--adopt" not in plugin
    assert "`synapse-apply export --ids plugin=1-400`" in plugin
    assert "Leave the row out: `synapse-apply apply --adopt`" in storage
    found = ("export", "--ids", "plugin=1-400", "--only", "plugin", "--out", "found")
    ready.run(*found, "--inventory", "ids.yaml", code=0)
    ready.run("import", "-f", "ids.yaml", code=0)
    ready.apply("--adopt")
    assert server.counts == (1, 1, 1)
    ready.unchanged()


def test_a_list_of_plugins_finds_them(serve, make):
    """Where the backend has one, an id of another version is not needed."""
    place = make(serve(plugin_list="list"))
    place.run("state", "init", code=0)
    place.write("i.yaml", "inventory: [{address: plugin/yolo, id: 1, api: v2}]\n")
    assert "--adopt" in place.run("import", "-f", "i.yaml", code=1).err
