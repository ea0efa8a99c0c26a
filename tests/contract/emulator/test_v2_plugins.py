"""Plugins of API v2: one data set with v1, a first release from the start, little that changes."""

from __future__ import annotations

import pytest
from contract.emulator.conftest import zipped


def fields_named(reply):
    """The fields a refusal names."""
    return {detail["field"] for detail in reply.body["error"]["details"]}


def test_a_plugin_is_made_with_its_first_release(wire):
    """The answer names the release, which is there on both versions."""
    made = wire.plugin_v2("yolo", name="Yolo", version="1.2.0", tasks=["image.detection"])
    assert made["release"] == {"id": 1, "version": "1.2.0", "is_released": False}
    release = wire.get("/v2/plugin-releases/1/").body["data"]
    assert (release["plugin"]["code"], release["version"]) == ("yolo", "1.2.0")
    assert release["config"]["tasks"] == ["image.detection"]
    assert wire.get("/plugin_releases/yolo@1.2.0/").body["plugin"] == made["id"]


def test_the_first_version_is_0_0_0(wire):
    """Unless another is sent."""
    assert wire.plugin_v2()["release"]["version"] == "0.0.0"


def test_from_a_file(wire):
    """The first release holds the file and the configuration in it."""
    config = "name: Yolo\nactions:\n  train: {entrypoint: m.t}\n  infer: {}\n"
    parts = [("code", "yolo"), ("name", "Yolo"), ("category", "neural_net"), ("source", "file")]
    parts += [("version", "2.0.0"), ("tasks", '["a", "b"]'), ("debug", "True")]
    package = zipped(config)
    reply = wire.post_form("/v2/plugins/", *parts, ("file", package))
    assert reply.status == 201, reply.content
    release = wire.get(f"/v2/plugin-releases/{reply.body['data']['release']['id']}/").body["data"]
    assert release["available_actions"] == ["infer", "train"]
    assert release["debug"] is True
    assert wire.get(f"/_emulator/packages/{release['id']}/").content == package


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


def test_a_plugin_of_v1_is_seen(wire):
    """By id and in the list; a change on one version is there on the other."""
    plugin = wire.plugin(code="old_code", name="Old", category="data_processing", version="3")
    path = f"/v2/plugins/{plugin['id']}/"
    assert wire.get(path).body["data"]["code"] == "old_code"
    assert [one["code"] for one in wire.get("/v2/plugins/").body["data"]] == ["old_code"]
    assert wire.patch(path, {"description": "new"}).status == 200
    assert wire.get(f"/plugins/{plugin['id']}/").body["description"] == "new"
    wire.put(f"/plugins/{plugin['id']}/", {"name": "Newer"})
    assert wire.get(path).body["data"]["name"] == "Newer"


def test_a_plugin_of_v1_without_a_code_is_not(wire):
    """Neither it nor its releases and jobs are there."""
    plugin = wire.plugin()
    wire.post("/plugin_releases/", {"plugin": plugin["id"], "version": "1"})
    assert wire.get(f"/v2/plugins/{plugin['id']}/").status == 404
    assert wire.get("/v2/plugin-releases/1/").status == 404
    assert wire.get("/v2/plugins/").body["data"] == []
    assert wire.get("/v2/plugin-releases/").body["data"] == []


def test_a_code_is_had_once(wire, other):
    """By one plugin of all tenants, whichever version made it: 409, with its code."""
    wire.plugin_v2("yolo")
    wire.plugin(code="old")
    for who, code in ((wire, "yolo"), (other, "yolo"), (other, "old")):
        reply = who.post("/v2/plugins/", {"code": code, "name": "x", "category": "export"})
        assert (reply.status, reply.body["error"]["code"]) == (409, "CONFLICT")
    assert other.post("/plugins/", {"code": "yolo", "name": "x"}).status == 409
    assert other.get("/v2/plugins/").body["data"] == []
    assert other.get("/v2/plugins/1/").status == 404


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


def test_every_wrong_field_is_named(wire):
    """In one answer, with an envelope and the request's id."""
    data = {"code": "no_good-", "name": "", "category": "custom", "data_type": "smell"}
    reply = wire.post("/v2/plugins/", {**data, "supported_data_types": ["image", "smell"]})
    assert fields_named(reply) == {*data, "supported_data_types"}
    error = reply.body["error"]
    assert (error["code"], error["message"]) == ("VALIDATION_ERROR", "The request is not valid")
    assert reply.body["meta"]["request_id"] == reply.headers["x-request-id"]


def test_a_body_that_is_no_object(wire):
    """Is said of the whole request, and of no field."""
    error = wire.post("/v2/plugins/", [1]).body["error"]
    assert error["details"] is None
    assert error["message"].startswith("Invalid data.")


@pytest.mark.parametrize("code", ["a", "9", "a-b", "yolo-v8"])
def test_codes(wire, code):
    """Lower-case letters, digits, inner hyphens."""
    assert wire.plugin_v2(code)["code"] == code


@pytest.mark.parametrize("code", ["-", "-a", "a-", "a_b", "A", "a b", "ü", "a\n"])
def test_wrong_codes(wire, code):
    """All others are 400, but that blanks around one are cut."""
    reply = wire.post("/v2/plugins/", {"code": code, "name": "x", "category": "export"})
    assert reply.status == (201 if code == "a\n" else 400)


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


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_methods_that_are_not_offered(wire, method):
    """405, in an envelope."""
    plugin = wire.plugin_v2()
    reply = wire.send(method, f"/v2/plugins/{plugin['id']}/", {})
    assert (reply.status, reply.headers["allow"]) == (405, "GET, PATCH")
    assert reply.body["error"]["code"] == "METHOD_NOT_ALLOWED"
