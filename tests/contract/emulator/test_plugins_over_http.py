"""Plugins: create, read, update, and what v1 does not offer."""

from __future__ import annotations

import pytest

FULL = {
    "name": "My Custom Plugin",
    "description": "A plugin for custom data processing",
    "version": "1.0.0",
    "author": "Your Name",
    "category": "data_processing",
    "configuration": {"parameters": {"threshold": {"type": "float", "default": 0.5}}},
}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"name"}),
        ({"name": "  "}, {"name"}),
        ({"name": None}, {"name"}),
        ({"name": True}, {"name"}),
        ({"configuration": []}, {"name", "configuration"}),
        ({"name": "x", "description": None, "author": ["a"]}, {"description", "author"}),
        ({"name": "x", "code": "with space"}, {"code"}),
        ({"name": "nul\0"}, {"name"}),
    ],
)
def test_every_wrong_field_is_named(wire, body, fields):
    """400 names all wrong fields at once, each with a list of texts."""
    reply = wire.post("/plugins/", body)
    assert reply.status == 400
    assert set(reply.body) == fields
    assert all(isinstance(texts, list) and texts for texts in reply.body.values())


def test_full_put_needs_name_and_resets_the_rest(start):
    """Under `put=full` a field that is not sent goes back to its default; the code stays."""
    wire = start(switches={"put": "full"})
    plugin = wire.plugin(**FULL, code="mine")
    assert wire.put(f"/plugins/{plugin['id']}/", {"author": "x"}).status == 400
    updated = wire.put(f"/plugins/{plugin['id']}/", {"name": "N", "author": "x"}).body
    assert (updated["name"], updated["author"], updated["code"]) == ("N", "x", "mine")
    assert (updated["description"], updated["configuration"]) == ("", {})


def test_code_can_be_set_later_but_not_changed(wire):
    """A plugin without a code may get one; afterwards it is final."""
    wire.plugin(code="taken")
    path = f"/plugins/{wire.plugin()['id']}/"
    assert wire.put(path, {"code": "taken"}).status == 409
    assert wire.put(path, {"code": "late"}).body["code"] == "late"
    assert wire.put(path, {"code": "late", "author": "a"}).status == 200
    assert set(wire.put(path, {"code": "other"}).body) == {"code"}


def test_slug_switch_gives_codes(start):
    """Under `code=slug` a plugin without a code gets a free slug of its name."""
    wire = start(switches={"code": "slug"})
    assert [wire.plugin(name="My Ünique Plugin")["code"] for _ in range(2)] == [
        "my-unique-plugin",
        "my-unique-plugin-2",
    ]


def test_reading_by_code_is_not_found(wire):
    """Only run takes a code; a read by code is not promised by anyone."""
    wire.plugin(code="yolo")
    assert wire.get("/plugins/yolo/").status == 404
