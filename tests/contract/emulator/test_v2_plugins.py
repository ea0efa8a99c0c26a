"""Plugins of API v2: one data set with v1, a first release from the start, little that changes."""

from __future__ import annotations

import pytest
from contract.emulator.conftest import zipped


def fields_named(reply):
    """The fields a refusal names."""
    return {detail["field"] for detail in reply.body["error"]["details"]}


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (("file", b"no zip"),),
        (("file", b""),),
        (("file", zipped("a: [")),),
        (("file", "text"),),
    ],
)
def test_a_file_that_cannot_be_used_makes_nothing(wire, parts):
    """Neither the plugin nor a release is left behind."""
    said = [("code", "yolo"), ("name", "Yolo"), ("category", "export"), ("source", "file")]
    reply = wire.post_form("/v2/plugins/", *said, *parts)
    assert (reply.status, fields_named(reply)) == (400, {"file"})
    counts = wire.get("/_emulator/state/").body["counts"]
    assert (counts["plugin"], counts["release"]) == (0, 0)


def test_a_name_is_had_once_by_a_tenant(wire, other):
    """On create and on change; another tenant may have it too."""
    wire.plugin_v2("one", name="One")
    two = wire.plugin_v2("two", name="Two")
    same = {"code": "three", "name": "One", "category": "export"}
    for reply in (
        wire.post("/v2/plugins/", same),
        wire.patch(f"/v2/plugins/{two['id']}/", {"name": "One"}),
    ):
        assert (reply.status, fields_named(reply)) == (400, {"name"})
    assert wire.patch(f"/v2/plugins/{two['id']}/", {"name": "Two"}).status == 200
    assert other.post("/v2/plugins/", same).status == 201


@pytest.mark.parametrize("field", ["code", "tenant", "category"])
def test_what_is_final_is_refused(wire, field):
    """Not passed over, even with the value it has; nothing else of the request is done."""
    plugin = wire.plugin_v2()
    value = plugin.get(field, "acme")
    reply = wire.patch(f"/v2/plugins/{plugin['id']}/", {field: value, "name": "New"})
    assert (reply.status, fields_named(reply)) == (400, {field})
    assert wire.get(f"/v2/plugins/{plugin['id']}/").body["data"]["name"] == "yolo"


def test_a_body_that_is_no_object(wire):
    """Is said of the whole request, and of no field."""
    error = wire.post("/v2/plugins/", [1]).body["error"]
    assert error["details"] is None
    assert error["message"].startswith("Invalid data.")


def test_values_as_texts_in_json(wire):
    """The vendor's client sends lists and booleans as texts."""
    texts = {"tasks": '["a.b"]', "debug": "true", "meta": '{"k": [1]}'}
    made = wire.plugin_v2(supported_data_types='["image"]', **texts)
    release = wire.get(f"/v2/plugin-releases/{made['release']['id']}/").body["data"]
    assert release["config"]["tasks"] == ["a.b"]
    assert release["config"]["supported_data_types"] == ["image"]
    assert (release["debug"], release["meta"]) == (True, {"k": [1]})


@pytest.mark.parametrize("text", ['"\\ud800"', "NaN", "[" * 5000])
def test_a_text_that_is_no_json_stays_one(wire, text):
    """Also where reading it would give what no answer can hold."""
    made = wire.plugin_v2(meta=text)
    release = wire.get(f"/v2/plugin-releases/{made['release']['id']}/")
    assert (release.status, release.body["data"]["meta"]) == (200, text)


def test_filters(wire):
    """By category and by what is active; a value that cannot be is 400."""
    wire.plugin_v2("one", category="upload")
    wire.plugin_v2("two")
    wire.send("PATCH", "/_emulator/objects/plugin/2/", {"is_active": False})
    found = {}
    for query in ("category=upload", "is_active=false", "is_active=True", "category="):
        found[query] = [one["code"] for one in wire.get(f"/v2/plugins/?{query}").body["data"]]
    assert found == {
        "category=upload": ["one"],
        "is_active=false": ["two"],
        "is_active=True": ["one"],
        "category=": ["one", "two"],
    }
    assert wire.get("/v2/plugins/?category=custom").status == 400
