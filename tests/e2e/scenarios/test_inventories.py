"""`state show --inventory`, `export` and `import -f`: what an inventory says is recorded, or a finding."""

from __future__ import annotations

import shutil

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


def test_rows_that_cannot_be_used_are_told_with_their_places(ready):
    """A text in place of a row, a digest that is none, one address with two ids; nothing else."""
    ready.write(
        "i.yaml",
        "inventory:\n"
        "  - {address: plugin/yolo, id: 1}\n"
        "  - plugin/x\n"
        "  - {address: release/yolo@1.0.0, id: 1, digest: bogus}\n"
        "  - {address: plugin/yolo, id: 2}\n",
    )
    ran = ready.run("import", "-f", "i.yaml", code=1)
    for line, words in (
        (3, "row 2 of i.yaml: it is a string, 'plugin/x'"),
        (4, "row 3 of i.yaml (release/yolo@1.0.0): the digest 'bogus' is not valid: a digest is "),
        (5, "plugin/yolo is in row 1 (line 2) and in row 4 of i.yaml, with id 1 and 2."),
    ):
        assert f"i.yaml:{line}:5" in ran.err
        assert words in ran.err
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
