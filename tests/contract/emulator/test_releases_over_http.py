"""Plugin releases: both vocabularies, JSON and multipart, lookups, immutability."""

from __future__ import annotations

import hashlib

import pytest

ZIP = b"PK\x05\x06" + b"\0" * 18


def test_page_vocabulary_over_multipart(wire):
    """plugin, version, changelog, is_stable and the file, as the page's client sends them."""
    plugin = wire.plugin()
    reply = wire.post_form(
        "/plugin_releases/",
        ("plugin", str(plugin["id"])),
        ("version", "2.0.0"),
        ("changelog", "Added"),
        ("is_stable", "True"),
        ("file", ZIP),
    )
    assert reply.status == 201
    release = reply.body
    assert (release["plugin"], release["version"]) == (plugin["id"], "2.0.0")
    assert (release["changelog"], release["is_stable"]) == ("Added", True)
    assert release["file"]["name"] == "yolo.zip"
    assert wire.get(f"/plugin_releases/{release['id']}/").body == release


def test_platform_vocabulary_over_multipart(wire):
    """A code, `config` as JSON text, repeated requirements, `debug` as Python text."""
    wire.plugin(code="yolo")
    release = wire.post_form(
        "/plugin_releases/",
        ("plugin", "yolo"),
        ("version", "1.0.0"),
        ("config", '{"code": "yolo", "n": 1}'),
        ("requirements", "numpy"),
        ("requirements", "torch>=2"),
        ("debug", "False"),
        ("file", ZIP),
    ).body
    assert release["config"] == {"code": "yolo", "n": 1}
    assert release["requirements"] == ["numpy", "torch>=2"]
    assert (release["debug"], release["is_stable"]) == (False, False)


def test_one_requirement_is_a_list_too(wire):
    """A single part cannot be told from a list of one."""
    wire.plugin(code="yolo")
    release = wire.post_form(
        "/plugin_releases/", ("plugin", "yolo"), ("version", "1"), ("requirements", "numpy")
    ).body
    assert release["requirements"] == ["numpy"]


@pytest.mark.parametrize("write", [int, str, lambda _id: "yolo"])
def test_json_names_its_plugin_by_id_text_or_code(wire, write):
    """Without a file the vendor's client sends JSON."""
    plugin = wire.plugin(code="yolo")
    body = {"plugin": write(plugin["id"]), "version": "1", "config": {"a": 1}, "debug": True}
    reply = wire.post("/plugin_releases/", body)
    assert reply.status == 201
    assert reply.body["plugin"] == plugin["id"]
    assert (reply.body["config"], reply.body["debug"]) == ({"a": 1}, True)
    assert reply.body["file"] is None


def test_lookup_by_code_and_version_with_expanded_plugin(wire):
    """`code@version`, bare or percent-encoded; `expand=plugin` shows the plugin whole."""
    plugin = wire.plugin(code="yolo")
    release = wire.post("/plugin_releases/", {"plugin": "yolo", "version": "1.0.0+b.1"}).body
    assert wire.get("/plugin_releases/yolo@1.0.0+b.1/").body == release
    expanded = wire.get("/plugin_releases/yolo%401.0.0%2Bb.1/?expand=plugin").body
    assert expanded == {**release, "plugin": plugin}
    assert wire.get("/plugin_releases/yolo@9/").status == 404
    assert wire.get("/plugin_releases/nobody@1.0.0/").status == 404


def test_releases_of_a_plugin(wire):
    """`?plugin=` takes code or id; an unknown one has none."""
    for code in ("one", "two"):
        plugin = wire.plugin(code=code)
        for version in ("1", "2"):
            wire.post("/plugin_releases/", {"plugin": code, "version": version})
    by_code = wire.get("/plugin_releases/?plugin=two").body
    assert [release["version"] for release in by_code["results"]] == ["1", "2"]
    assert {release["plugin"] for release in by_code["results"]} == {plugin["id"]}
    assert wire.get(f"/plugin_releases/?plugin={plugin['id']}").body == by_code
    assert wire.get("/plugin_releases/?plugin=nobody").body["count"] == 0
    assert wire.get("/plugin_releases/").body["count"] == 4


def test_same_version_twice_is_a_conflict(wire):
    """409 says `already exists`, which the vendor's publisher looks for; other plugins may."""
    for code in ("one", "two"):
        wire.plugin(code=code)
        assert wire.post("/plugin_releases/", {"plugin": code, "version": "1"}).status == 201
    reply = wire.post_form("/plugin_releases/", ("plugin", "one"), ("version", "1"), ("file", ZIP))
    assert reply.status == 409
    assert "already exists" in reply.body["detail"]


@pytest.mark.parametrize(
    ("parts", "fields"),
    [
        ((), {"plugin", "version"}),
        ((("plugin", "nobody"), ("version", "1")), {"plugin"}),
        ((("plugin", "999"), ("version", " ")), {"plugin", "version"}),
        ((("plugin", "yolo"), ("version", "1"), ("file", b"")), {"file"}),
        ((("plugin", "yolo"), ("version", "1"), ("file", "text")), {"file"}),
        ((("plugin", "yolo"), ("version", "1"), ("config", "{")), {"config"}),
        ((("plugin", "yolo"), ("version", "1"), ("is_stable", "maybe")), {"is_stable"}),
    ],
)
def test_every_wrong_field_of_a_release_is_named(wire, parts, fields):
    """400 names all wrong fields at once, and nothing is stored."""
    wire.plugin(code="yolo")
    reply = wire.post_form("/plugin_releases/", *parts)
    assert reply.status == 400
    assert set(reply.body) == fields
    assert wire.get("/plugin_releases/").body["count"] == 0


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_releases_are_immutable(wire, method):
    """405 whatever one tries."""
    wire.plugin(code="yolo")
    wire.post("/plugin_releases/", {"plugin": "yolo", "version": "1"})
    reply = wire.send(method, "/plugin_releases/1/", {"version": "2"})
    assert (reply.status, reply.headers["allow"]) == (405, "GET")


def test_package_bytes_are_kept(wire, tmp_path):
    """The bytes come back as they were sent; their SHA-256 is in the data set, not in answers."""
    wire.plugin(code="yolo")
    release = wire.post_form(
        "/plugin_releases/", ("plugin", "yolo"), ("version", "1"), ("file", ZIP)
    ).body
    sha256 = hashlib.sha256(ZIP).hexdigest()
    assert sha256 not in str(release)
    stored = wire.get(f"/_emulator/objects/release/{release['id']}/").body["body"]["package"]
    assert stored == {"name": "yolo.zip", "size": len(ZIP), "sha256": sha256}
    assert wire.get(release["file"]["url"].removeprefix(wire.url)).content == ZIP
    assert list((tmp_path / "data" / "incoming").iterdir()) == []
