"""Plugin releases of API v2: uploaded, locked, deleted."""

from __future__ import annotations

import pytest
from attack.test_bounds import write_zip_of_entries
from contract.emulator.conftest import zipped


@pytest.fixture
def plugin(wire):
    return wire.plugin_v2()["id"]


def test_upload(wire, plugin):
    """The configuration comes from the package, and the bytes are kept."""
    package = zipped("version: 1.0.0\nx-note: {when: 2026-01-02, 3: yes}\n", "synapse.yaml")
    reply = wire.release_v2(plugin, "1.0.0", package)
    assert reply.status == 201
    made = reply.body["data"]
    assert made["config"]["x-note"] == {"when": "2026-01-02", "3": True}
    assert (made["is_released"], made["plugin_id"]) == (False, plugin)
    assert "sha256" not in made
    assert wire.get(f"/_emulator/packages/{made['id']}/").content == package
    assert wire.get("/plugin_releases/yolo@1.0.0/").body["id"] == made["id"]


def test_every_field_is_needed(wire):
    """All that are missing are named; JSON is another content type."""
    reply = wire.post_form("/v2/plugin-releases/", ("version", ""))
    named = {detail["field"] for detail in reply.body["error"]["details"]}
    assert (reply.status, named) == (400, {"plugin", "version", "sha256", "file"})
    assert wire.post("/v2/plugin-releases/", {"plugin": 1}).status == 415


@pytest.mark.parametrize(
    ("field", "value"), [("sha256", "abc"), ("plugin", "yolo"), ("plugin", "77"), ("file", b"x")]
)
def test_wrong_values(wire, plugin, field, value):
    """400 that names the field."""
    parts = {"plugin": str(plugin), "version": "1", "sha256": "0" * 64, "file": zipped()}
    reply = wire.post_form("/v2/plugin-releases/", *{**parts, field: value}.items())
    assert reply.status == 400
    assert [detail["field"] for detail in reply.body["error"]["details"]] == [field]


@pytest.mark.parametrize(("value", "status"), [("unchecked", 201), ("compared", 400)])
def test_another_digest(start, value, status):
    """Whether it is compared with the file is a switch."""
    wire = start(switches={"v2_sha256": value})
    plugin = wire.plugin_v2()["id"]
    parts = {"plugin": str(plugin), "version": "1", "sha256": "0" * 64, "file": zipped()}
    assert wire.post_form("/v2/plugin-releases/", *parts.items()).status == status
    assert wire.release_v2(plugin, "2").status == 201


def test_the_lock_is_for_good(wire, plugin):
    """Said twice it is the same; a locked version is not deployed again, even when deleted."""
    for _ in range(2):
        reply = wire.post("/v2/plugin-releases/1/release/")
        assert (reply.status, reply.body["data"]["is_released"]) == (200, True)
    assert wire.get("/v2/plugin-releases/").body["data"][0]["is_released"] is True
    assert wire.send("DELETE", "/v2/plugin-releases/1/").status == 204
    assert wire.release_v2(plugin, "0.0.0").status == 409
    for method in ("PUT", "PATCH"):
        assert wire.send(method, "/v2/plugin-releases/1/", {}).status == 405


def test_what_is_in_use_stays(wire, plugin):
    """409 while it is."""
    path = "/v2/plugin-releases/1/"
    wire.send("PATCH", "/_emulator/objects/release/1/", {"in_use": True})
    assert wire.send("DELETE", path).status == 409
    assert wire.get(path).status == 200
    wire.send("PATCH", "/_emulator/objects/release/1/", {"in_use": False})
    assert wire.send("DELETE", path).status == 204


def test_filters(wire, plugin):
    """By plugin and by debug; an unknown plugin has none."""
    wire.plugin_v2("two", debug=True)
    found = {}
    for query in (f"plugin={plugin}", f"plugin={'9' * 19}", "debug=true", "debug=false"):
        found[query] = [one["id"] for one in wire.get(f"/v2/plugin-releases/?{query}").body["data"]]
    assert found == {
        f"plugin={plugin}": [1],
        f"plugin={'9' * 19}": [],
        "debug=true": [2],
        "debug=false": [1],
    }
    assert wire.get("/v2/plugin-releases/?plugin=yolo").status == 400


@pytest.mark.parametrize("config", ["- a list", "a: .nan", 'a: "\\ud800"', "? [a]\n: b", "\x00"])
def test_a_configuration_that_no_answer_could_hold(wire, plugin, config):
    """Is refused when it comes, not when it is read."""
    assert wire.release_v2(plugin, "1", zipped(config)).status == 400


def test_a_configuration_of_aliases_is_refused(wire, plugin):
    """A small text that unfolds to a huge value neither fills memory nor disk."""
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    bomb = "\n".join(["a0: &a0 [x]", *levels])
    assert wire.release_v2(plugin, "1", zipped(bomb)).status == 400


def test_a_package_of_very_many_entries_is_refused(wire, plugin, tmp_path):
    """Before they are read: each would take some hundred bytes of memory."""
    for count, status in ((100_000, 201), (200_000, 400)):
        write_zip_of_entries(tmp_path / "p.zip", count, b"%x")
        content = (tmp_path / "p.zip").read_bytes()
        reply = wire.release_v2(plugin, str(count), content)
        assert reply.status == status, reply.content
    assert "not a zip archive that can be read" in str(reply.content)
