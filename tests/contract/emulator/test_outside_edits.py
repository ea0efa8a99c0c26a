"""The endpoints no real backend has: outside edits, counts, the request log, switches."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest


def test_an_object_is_deleted_from_outside(wire):
    """Then it is 404, and its id is not given again."""
    wire.plugin(code="yolo")
    assert wire.send("DELETE", "/_emulator/objects/plugin/1/").status == 204
    assert wire.get("/plugins/1/").status == 404
    assert wire.plugin(code="yolo")["id"] == 2


def test_all_objects_of_a_kind_are_deleted_from_outside(wire, other):
    """Of every tenant, and of no other kind; their ids are not given again."""
    wire.storage(name="mine")
    other.storage(name="theirs")
    wire.plugin(code="yolo")
    assert wire.get("/storages/").body["count"] == 1
    assert wire.send("DELETE", "/_emulator/objects/storage/").status == 204
    assert wire.send("DELETE", "/_emulator/objects/secret/").status == 404
    assert [one.get("/storages/").body["results"] for one in (wire, other)] == [[], []]
    assert wire.get("/plugins/1/").status == 200
    assert wire.storage(name="again")["id"] == 3


def test_an_edit_keeps_keys_unique(wire):
    """Codes and versions stay the natural keys they are."""
    wire.plugin(code="one")
    wire.plugin(code="two")
    assert wire.patch("/_emulator/objects/plugin/2/", {"code": "one"}).status == 409
    assert wire.patch("/_emulator/objects/plugin/2/", {"code": "three"}).status == 200
    wire.post("/plugin_releases/", {"plugin": "three", "version": "1"})
    wire.patch("/_emulator/objects/release/1/", {"version": "9"})
    assert wire.get("/plugin_releases/three@9/").status == 200
    assert wire.get("/plugin_releases/three@1/").status == 404


@pytest.mark.parametrize("path", ["objects/secret/", "objects/plugin/9/", "objects/plugin/x/"])
def test_unknown_kind_or_object(wire, path):
    """404."""
    assert wire.get(f"/_emulator/{path}").status == 404


def test_request_log_tells_what_was_sent_without_values(wire):
    """Method, path, names of fields, status; counts by route; no body, no agent token."""
    wire.storage(configuration={"secret_key": "shh"})
    wire.get("/storages/1/?with_configuration=true")
    wire.post("/agents/agent-token-123/connect/")
    log = wire.get("/_emulator/requests").body
    assert log["counts"] == {
        "POST /storages/": 1,
        "GET /storages/{id}/": 1,
        "POST /agents/{token}/connect/": 1,
    }
    assert log["last"][0]["fields"] == ["configuration", "name", "provider"]
    assert log["last"][1]["query"] == "with_configuration=true"
    assert "shh" not in str(log)
    assert "agent-token-123" not in str(log)
    assert wire.send("DELETE", "/_emulator/requests").status == 204
    assert wire.get("/_emulator/requests").body == {"counts": {}, "last": []}


def test_request_log_is_bounded(wire):
    """Only the last thousand requests are kept; the counts count all."""
    for _ in range(1001):
        wire.get("/storages/1/")
    log = wire.get("/_emulator/requests").body
    assert len(log["last"]) == 1000
    assert log["counts"] == {"GET /storages/{id}/": 1001}


def test_the_clock_can_be_moved(wire):
    """Every answer is dated by it, one that refuses too; jobs live by it."""

    def ahead(path: str) -> float:
        told = parsedate_to_datetime(wire.get(path).headers["date"])
        return (told - datetime.now(UTC)).total_seconds()

    assert abs(ahead("/jobs/")) < 2
    assert wire.patch("/_emulator/clock", {"ahead": -90}).body["ahead"] == -90
    assert -92 < ahead("/jobs/") < -89
    assert -92 < ahead("/nowhere/") < -89
    wire.plugin(code="yolo")
    job = wire.run("yolo", parameters={"emulator": {"seconds": 10}})
    wire.patch("/_emulator/clock", {"ahead": 0})
    assert wire.get(f"/jobs/{job}/").body["status"] == "completed"


@pytest.mark.parametrize("ahead", [None, "soon", True, 1e12])
def test_a_time_that_is_none(wire, ahead):
    """Nothing moves."""
    assert wire.patch("/_emulator/clock", {"ahead": ahead}).status == 400
    assert wire.get("/_emulator/clock/").body["ahead"] == 0


def test_switches_change_while_running(wire):
    """PATCH answers all values; a wrong one changes nothing and names those there are."""
    assert wire.get("/_emulator/switches").body["put"] == "partial"
    assert wire.patch("/_emulator/switches", {"put": "full"}).body["put"] == "full"
    for wrong in ({"put": "odd", "code": "slug"}, {"code": "slug", "nonsense": "x"}):
        reply = wire.patch("/_emulator/switches", wrong)
        assert reply.status == 400
    assert "known: put, secrets" in reply.body["detail"]
    assert wire.get("/_emulator/switches").body["code"] == "none"
