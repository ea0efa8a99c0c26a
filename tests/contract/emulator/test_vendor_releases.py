"""Releases as the vendor's own tools find them (profile `vendor`)."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from contract.emulator.conftest import Wire, zipped

CONFIG = "name: Yolo\ncode: yolo\nversion: 1.0.0\nactions: {train: {method: job}}\n"


@pytest.fixture
def plugin(vendor):
    return vendor.plugin_of_platform()["id"]


def versions(wire, query="plugin=yolo"):
    return [one["version"] for one in wire.get(f"/plugin_releases/?{query}").body["results"]]


def bare_get(wire, url, **headers):
    """What a URL of an answer gives without any header of ours."""
    parts = urlsplit(url)
    return Wire(wire.url, {}).send("GET", f"{parts.path}?{parts.query}", **headers)


def test_the_package_says_version_and_config(vendor, plugin):
    """Whatever the form says of them; `meta` is kept; what the page's release has is dropped."""
    more = {"changelog": "c", "is_stable": "True", "requirements": "a", "meta": '{"digest": "d"}'}
    made = vendor.upload("yolo", CONFIG, version="9.9.9", config='{"x": 1}', **more)
    assert made.status == 201
    assert (made.body["plugin"], made.body["version"]) == (plugin, "1.0.0")
    assert made.body["config"]["actions"] == {"train": {"method": "job"}}
    assert made.body["meta"] == {"digest": "d"}
    assert made.body["available_actions"] == ["train"]
    assert not {"changelog", "is_stable", "requirements"} & set(made.body)
    read = vendor.get("/plugin_releases/yolo@1.0.0/").body
    assert read["meta"] == {"digest": "d"}
    assert vendor.get("/plugin_releases/yolo@9.9.9/").status == 404
    assert vendor.get("/plugin_releases/yolo@1.0.0/?expand=plugin").body["plugin"]["code"] == "yolo"


def test_a_form_that_contradicts_its_package(start):
    """With `release_source=checked` it is 400 on `version`, and nothing is made."""
    wire = start(profile="vendor", switches={"release_source": "checked"})
    wire.plugin_of_platform()
    reply = wire.upload("yolo", CONFIG, version="9.9.9")
    assert (reply.status, set(reply.body)) == (400, {"version"})
    assert versions(wire) == ["0.0.0"]
    assert wire.upload("yolo", CONFIG, version="1.0.0").status == 201


@pytest.mark.parametrize(
    ("parts", "wrong"),
    [
        ([("plugin", "yolo"), ("version", "1.0.0")], {"file"}),
        ([("plugin", "yolo"), ("file", zipped("x: 1\n", "other.yaml"))], {"file"}),
        ([("plugin", "yolo"), ("file", b"no zip")], {"file"}),
        ([("plugin", "yolo"), ("file", zipped("- a list\n"))], {"file"}),
        ([("file", zipped(CONFIG))], {"plugin"}),
        ([("plugin", "nobody"), ("version", "1")], {"plugin", "file"}),
    ],
)
def test_what_an_upload_needs(vendor, plugin, parts, wrong):
    """A file with a config.yaml, and a plugin; all that is wrong is named."""
    reply = vendor.post_form("/plugin_releases/", *parts)
    assert (reply.status, set(reply.body)) == (400, wrong)
    assert versions(vendor) == ["0.0.0"]


@pytest.mark.parametrize(
    ("way", "by_code", "by_id"),
    [("code", 201, 400), ("id", 400, 201), ("both", 201, 201)],
)
def test_how_an_upload_names_its_plugin(start, way, by_code, by_id):
    """A refusal names `plugin` alone, and makes nothing."""
    wire = start(profile="vendor", switches={"release_plugin": way})
    identity = wire.plugin_of_platform()["id"]
    for number, (name, status) in enumerate([("yolo", by_code), (str(identity), by_id)]):
        reply = wire.upload(name, f"version: 1.0.{number}\n")
        assert reply.status == status
        assert status == 201 or set(reply.body) == {"plugin"}
    made = (by_code == 201) + (by_id == 201)
    assert len(versions(wire)) == 1 + made


def test_a_debug_release_replaces_what_is_there(vendor, plugin):
    """Under the id that it has; bytes, config and meta are the new ones; nothing is validated."""
    first = vendor.upload("yolo", CONFIG, debug="True").body
    again = vendor.upload("yolo", CONFIG + "description: new\n", debug="True")
    assert (again.status, again.body["id"]) == (201, first["id"])
    assert again.body["config"]["description"] == "new"
    assert versions(vendor) == ["1.0.0", "0.0.0"]
    content = bare_get(vendor, again.body["file"]).content
    assert content == zipped(CONFIG + "description: new\n")
    odd = vendor.post_form(
        "/plugin_releases/",
        ("plugin", "yolo"), ("debug", "True"), ("version", "3.0.0"), ("file", b"no zip"),
    )  # fmt: skip
    assert (odd.status, odd.body["version"], odd.body["debug"]) == (201, "3.0.0", True)


def test_a_debug_release_replaces_no_locked_one(vendor, plugin):
    """The lock is for good: 409."""
    made = vendor.upload("yolo", CONFIG).body
    assert vendor.post(f"/v2/plugin-releases/{made['id']}/release/").status == 200
    assert vendor.upload("yolo", CONFIG + "x: 1\n", debug="True").status == 409
    assert vendor.get("/plugin_releases/yolo@1.0.0/").body["is_released"] is True
    assert bare_get(vendor, made["file"]).content == zipped(CONFIG)


def test_debug_releases_that_are_final(start):
    """With `debug_releases=final` a second one is refused as any other."""
    wire = start(profile="vendor", switches={"debug_releases": "final"})
    wire.plugin_of_platform()
    assert wire.upload("yolo", CONFIG, debug="True").status == 201
    assert set(wire.upload("yolo", CONFIG, debug="True").body) == {"version"}


@pytest.mark.parametrize(
    ("value", "plain", "debug"),
    [("kept", {"a": 1}, {"a": 1}), ("debug", None, {"a": 1}), ("none", "gone", "gone")],
)
def test_where_meta_is_kept(start, value, plain, debug):
    """A release that does not keep it does not have the field, or has null."""
    wire = start(profile="vendor", switches={"release_meta": value})
    wire.plugin_of_platform()
    one = wire.upload("yolo", "version: 1.0.0\n", meta='{"a": 1}').body
    two = wire.upload("yolo", "version: 2.0.0\n", meta='{"a": 1}', debug="True").body
    assert (one.get("meta", "gone"), two.get("meta", "gone")) == (plain, debug)


def test_the_file_is_a_url_that_needs_no_token_and_expires(vendor, plugin):
    """Any change of it is 403, as is asking late; each read of the release gives a new one."""
    url = vendor.upload("yolo", CONFIG).body["file"]
    got = bare_get(vendor, url)
    assert (got.status, got.content) == (200, zipped(CONFIG))
    for header in ("Authorization", "Synapse_Access_Token", "Synapse_Tenant", "SYNAPSE_Agent"):
        assert bare_get(vendor, url, **{header: "acme-token"}).status == 400
    path, _, query = url.partition("?")
    for changed in (path, url + "0", url.replace("Expires=3600", "Expires=99999"), f"{path}?x=1"):
        assert bare_get(vendor, changed).status == 403
    assert bare_get(vendor, url.replace("plugin_releases/2", "plugin_releases/1")).status == 403
    vendor.move_clock(3601)
    assert bare_get(vendor, url).status == 403
    again = vendor.get("/plugin_releases/yolo@1.0.0/").body["file"]
    assert query not in again
    assert bare_get(vendor, again).status == 200


def test_the_request_log_tells_of_a_file_without_its_signature(vendor, plugin):
    """Who tests a client can see that it sends no token along; the log gives none away."""
    url = vendor.upload("yolo", CONFIG).body["file"]
    vendor.send("DELETE", "/_emulator/requests/")
    bare_get(vendor, url)
    vendor.get(urlsplit(url).path + "?" + urlsplit(url).query)
    last = vendor.get("/_emulator/requests/").body["last"]
    assert [(one["status"], one["query"], one["has_token"]) for one in last] == [
        (200, "", False),
        (400, "", True),
    ]


def test_the_list_of_a_plugin_that_nobody_has(vendor):
    """Empty; with `unknown_plugin=refused`, 400 on `plugin`."""
    assert versions(vendor, "plugin=nobody") == []
    assert vendor.send("PATCH", "/_emulator/switches/", {"unknown_plugin": "refused"}).status == 200
    reply = vendor.get("/plugin_releases/?plugin=nobody")
    assert (reply.status, set(reply.body)) == (400, {"plugin"})
