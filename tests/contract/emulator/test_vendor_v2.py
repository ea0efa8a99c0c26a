"""API v2 as the vendor's policy tells it (profile `vendor`): dry runs, guards, old backends."""

from __future__ import annotations

import pytest
from contract.emulator.conftest import zipped

BODY = {"code": "yolo", "name": "Yolo", "category": "export"}


def everything(wire):
    return [wire.get(f"/_emulator/objects/{kind}/").body for kind in ("plugin", "release", "job")]


def test_a_dry_run_tells_what_was_validated(vendor):
    """200 and `{dry_run, action, validated_fields}` for each sort of change; nothing is kept."""
    plugin = vendor.plugin_v2("other")
    release, before = plugin["release"]["id"], everything(vendor)
    parts = (
        ("plugin", str(plugin["id"])),
        ("version", "2"),
        ("sha256", "0" * 64),
        ("file", zipped()),
    )
    replies = {
        "create": vendor.post("/v2/plugins/?dry_run=true", BODY),
        "update": vendor.patch(f"/v2/plugins/{plugin['id']}/?dry_run=true", {"name": "New"}),
        "release": vendor.post(f"/v2/plugin-releases/{release}/release/?dry_run=true"),
        "delete": vendor.send("DELETE", f"/v2/plugin-releases/{release}/?dry_run=true"),
    }
    for action, reply in replies.items():
        assert reply.status == 200
        assert (reply.body["data"]["dry_run"], reply.body["data"]["action"]) == (True, action)
        assert set(reply.body["meta"]) == {"request_id"}
    assert replies["create"].body["data"]["validated_fields"] == ["category", "code", "name"]
    upload = vendor.post_form("/v2/plugin-releases/?dry_run=true", *parts)
    assert upload.body["data"]["validated_fields"] == ["file", "plugin", "sha256", "version"]
    assert everything(vendor) == before


def test_a_dry_run_does_not_see_what_is_taken(vendor):
    """The 409 comes from the database; wrong fields and objects that are not there are seen."""
    vendor.plugin_v2()
    taken = {**BODY, "name": "Another"}
    assert vendor.post("/v2/plugins/?dry_run=true", taken).status == 200
    assert vendor.post("/v2/plugins/", taken).status == 409
    assert vendor.post("/v2/plugins/?dry_run=true", {"code": "A_"}).status == 400
    assert vendor.patch("/v2/plugins/77/?dry_run=true", {"name": "x"}).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v2/plugins/a%2Fb/", "/v2/plugins/a%3fb/", "/v2/plugins/1%23/", "/v2/plugins/%2531/",
        "/v2/plugins/1&2/", "/v2/plugins/1%5C/", "/v2/plugins/../", "/v2/jobs/..%2Fplugins/",
        "/v2/plugins/?cursor=%252e", "/v2/plugins/?category=export%25AB",
    ],
)  # fmt: skip
def test_odd_addresses_are_400(vendor, path):
    """Whether or not something is there; in the envelope of v2."""
    reply = vendor.get(path)
    assert (reply.status, reply.body["error"]["code"]) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("text", ["a\x01b", "\x1b[31m", "a\x7f", "nul\0"])
def test_control_characters_are_400_on_their_field(vendor, text):
    """In names, in forms, and deep in objects."""
    assert _details(vendor.post("/v2/plugins/", {**BODY, "name": text})) == {"name"}
    deep = {**BODY, "meta": {"a": [{"b": text}]}, "description": text}
    assert _details(vendor.post("/v2/plugins/", deep)) == {"meta", "description"}
    form = vendor.post_form("/v2/plugins/", *{**BODY, "readme": text}.items())
    assert _details(form) == {"readme"}
    assert vendor.get("/v2/plugins/").body["data"] == []


def test_a_system_plugin_is_not_changed_on_v2(vendor):
    """It is shown, of no tenant, and 403 on a change."""
    body = {**BODY, "system_only": True, "is_public": True}
    vendor.post("/_emulator/objects/plugin/", {"tenant": "*", "key": "yolo", "body": body})
    shown = vendor.get("/v2/plugins/1/").body["data"]
    assert (shown["tenant_id"], shown["system_only"]) == (None, True)
    assert vendor.patch("/v2/plugins/1/", {"name": "x"}).status == 403
    assert vendor.release_v2(1, "1.0.0").status == 403


def _details(reply):
    assert reply.status == 400
    return {detail["field"] for detail in reply.body["error"]["details"]}
