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


def test_created_plugin_is_answered_whole_and_read_again(wire):
    """201 with every documented field and an id; a read answers the same."""
    created = wire.post("/plugins/", FULL)
    assert created.status == 201
    assert created.body.items() >= FULL.items()
    assert created.body["code"] is None
    assert created.body["is_active"] is True
    assert created.body["tenant"] == "acme"
    assert wire.get(f"/plugins/{created.body['id']}/").body == created.body


def test_name_is_trimmed_and_numbers_become_texts(wire):
    """The server normalises texts as Django REST framework does."""
    plugin = wire.plugin(name="  Yolo  ", version=1.5)
    assert (plugin["name"], plugin["version"]) == ("Yolo", "1.5")


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


def test_unknown_fields_are_passed_over(wire):
    """v1 has no client model: what the server does not know is not stored and no error."""
    assert "nonsense" not in wire.plugin(nonsense=1)


def test_name_need_not_be_unique_but_code_must(wire):
    """Two plugins of one name; a second plugin of one code is 409."""
    wire.plugin(code="yolo")
    wire.plugin()
    reply = wire.post("/plugins/", {"name": "Yolo", "code": "yolo"})
    assert reply.status == 409
    assert "already exists" in reply.body["detail"]


def test_code_of_another_tenant_is_taken_too(wire, other):
    """Codes are global: 409 from a plugin one cannot see."""
    hidden = other.plugin(code="yolo")
    assert wire.post("/plugins/", {"name": "Mine", "code": "yolo"}).status == 409
    assert wire.get(f"/plugins/{hidden['id']}/").status == 404


def test_partial_put_changes_only_what_is_sent(wire):
    """The page's update: three fields, the rest stays; configuration is replaced as a whole."""
    plugin = wire.plugin(**FULL)
    sent = {"description": "New", "version": "1.1.0", "configuration": {"a": 1}}
    updated = wire.put(f"/plugins/{plugin['id']}/", sent)
    assert updated.status == 200
    assert updated.body == {**plugin, **sent, "modified": updated.body["modified"]}
    assert wire.get(f"/plugins/{plugin['id']}/").body == updated.body


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


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/plugins/", "POST"),
        ("DELETE", "/plugins/{id}/", "GET, PUT"),
        ("PATCH", "/plugins/{id}/", "GET, PUT"),
        ("GET", "/plugins/{id}/run/", "POST"),
    ],
)
def test_v1_has_no_list_no_delete_no_patch(wire, method, path, allowed):
    """405 with `Allow`, as the page documents no such operation."""
    reply = wire.send(method, path.format(id=wire.plugin()["id"]))
    assert reply.status == 405
    assert reply.headers["allow"] == allowed
    assert method in reply.body["detail"]


def test_list_switch_gives_pages_of_plugins(start):
    """Under `plugin_list=list` the tenant's plugins come in pages."""
    wire = start(switches={"plugin_list": "list"})
    plugins = [wire.plugin(name=f"p{number}") for number in range(3)]
    page = wire.get("/plugins/?page_size=2").body
    assert (page["count"], page["results"]) == (3, plugins[:2])
    assert page["next"] == f"{wire.url}/plugins/?page_size=2&page=2"
    assert wire.send("DELETE", "/plugins/").headers["allow"] == "GET, POST"
