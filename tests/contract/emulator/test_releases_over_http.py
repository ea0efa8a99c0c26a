"""Plugin releases: both vocabularies, JSON and multipart, lookups, immutability."""

from __future__ import annotations

import hashlib

import pytest

ZIP = b"PK\x05\x06" + b"\0" * 18


def test_one_requirement_is_a_list_too(wire):
    """A single part cannot be told from a list of one."""
    wire.plugin(code="yolo")
    release = wire.post_form(
        "/plugin_releases/", ("plugin", "yolo"), ("version", "1"), ("requirements", "numpy")
    ).body
    assert release["requirements"] == ["numpy"]


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
