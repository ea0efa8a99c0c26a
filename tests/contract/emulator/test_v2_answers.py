"""What all of API v2 shares: envelopes, cursors, dry runs, who is asking."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from contract.emulator.conftest import TOKEN, Wire

from synapse_apply import BackendClient


def walk(wire, path="/v2/plugins/?per_page=3", between=lambda _page: None):
    """The codes of each page, by the cursors alone."""
    pages, cursor = [], ""
    while cursor is not None:
        body = wire.get(f"{path}&cursor={quote(cursor)}").body
        pages.append([item["code"] for item in body["data"]])
        cursor = body["meta"]["pagination"]["next_cursor"]
        between(len(pages))
    return pages


@pytest.fixture
def seven(wire):
    for number in range(1, 8):
        wire.plugin_v2(f"p{number}")
    return wire


def test_walking_back(seven):
    """The previous cursor leads to the page before."""
    first = seven.get("/v2/plugins/?per_page=3").body
    pagination = first["meta"]["pagination"]
    assert (pagination["previous_cursor"], pagination["per_page"]) == (None, 3)
    second = seven.get(f"/v2/plugins/?per_page=3&cursor={pagination['next_cursor']}").body
    back = second["meta"]["pagination"]["previous_cursor"]
    again = seven.get(f"/v2/plugins/?per_page=3&cursor={back}").body
    assert again["data"] == first["data"]
    assert again["meta"]["pagination"]["previous_cursor"] is None
    assert again["meta"]["pagination"]["next_cursor"] is not None


@pytest.mark.parametrize("order", ["oldest", "newest"])
def test_inserts_and_deletes_shift_no_page(start, order):
    """What was there all along comes once, whatever is made or deleted meanwhile."""
    wire = start(switches={"list_order": order})
    for number in range(1, 8):
        wire.plugin_v2(f"p{number}")

    def disturb(page):
        wire.plugin_v2(f"new{page}")
        wire.send("DELETE", f"/_emulator/objects/plugin/{1 if order == 'oldest' else 7}/")

    seen = [code for codes in walk(wire, between=disturb) for code in codes]
    assert len(seen) == len(set(seen))
    assert {f"p{n}" for n in range(2, 7)} <= set(seen)


@pytest.mark.parametrize("answers", ["envelope", "plain"])
@pytest.mark.parametrize("shift", ["insert", "delete"])
def test_a_fault_that_shifts_pages_shifts_none_here(seven, answers, shift):
    """An object comes or goes with every page, and the others are there once all the same."""
    seven.send("PATCH", "/_emulator/switches/", {"v2_answers": answers})
    rule = {"match": {"path": "/v2/plugins/"}, "do": {"page_shift": shift}}
    seven.send("PUT", "/_emulator/faults/", {"rules": [rule]})
    with BackendClient(seven.url, TOKEN) as client:
        seen = [one["code"] for one in client.v2.iterate("plugins", {"per_page": 3})]
    assert [code for code in seen if code.startswith("p")] == [f"p{n}" for n in range(1, 8)]
    stored = [
        row["body"]["code"] for row in seven.get("/_emulator/objects/plugin/").body["results"]
    ]
    assert len(stored) == len(set(stored)) == (10 if shift == "insert" else 4)


@pytest.mark.parametrize("cursor", ["x", "YQ==", "YTE", "%00", "/v2/plugins/?cursor=YTE="])
def test_a_cursor_that_is_none(seven, cursor):
    """404."""
    assert seven.get(f"/v2/plugins/?cursor={quote(cursor)}").status == 404


@pytest.mark.parametrize(("value", "status"), [("checked", 409), ("blind", 201)])
def test_what_a_dry_run_looks_at(start, value, status):
    """Fields always; whether a code or a version is taken is a switch."""
    wire = start(switches={"v2_dry_run": value})
    plugin = wire.plugin_v2()["id"]
    taken = {"code": "yolo", "name": "new", "category": "export"}
    assert wire.post("/v2/plugins/?dry_run=true", taken).status == status
    assert wire.post("/v2/plugins/?dry_run=true", {"code": "A"}).status == 400
    assert wire.post("/v2/plugins/", taken).status == 409
    assert wire.get(f"/v2/plugins/{plugin}/").body["data"]["code"] == "yolo"


def test_a_server_that_knows_no_dry_run(start):
    """With `v2_dry_run=unknown` the request is carried out, and its answer says nothing of it."""
    wire = start(switches={"v2_dry_run": "unknown"})
    made = wire.post("/v2/plugins/?dry_run=true", {"code": "a", "name": "a", "category": "export"})
    assert made.status == 201
    assert "dry_run" not in made.body["meta"]
    release = made.body["data"]["release"]["id"]
    assert wire.send("DELETE", f"/v2/plugin-releases/{release}/?dry_run=maybe").status == 204
    assert [one["code"] for one in wire.get("/v2/plugins/").body["data"]] == ["a"]
    assert wire.get("/v2/plugin-releases/").body["data"] == []


def test_a_dry_run_that_is_unclear_does_nothing(wire):
    """Neither yes nor no is 400."""
    body = {"code": "a", "name": "a", "category": "export"}
    for text in ("maybe", "", "2"):
        assert wire.post(f"/v2/plugins/?dry_run={text}", body).status == 400
    assert wire.get("/v2/plugins/").body["data"] == []


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "AUTHENTICATION_REQUIRED"),
        ({"SYNAPSE-ACCESS-TOKEN": "wrong"}, 401, "AUTHENTICATION_REQUIRED"),
        ({"SYNAPSE-ACCESS-TOKEN": TOKEN, "SYNAPSE-Tenant": "other"}, 403, "PERMISSION_DENIED"),
    ],
)
def test_who_may_not(wire, headers, status, code):
    """The refusal says which of the two, with the request's id."""
    reply = Wire(wire.url, headers).get("/v2/plugins/")
    assert (reply.status, reply.body["error"]["code"]) == (status, code)
    assert reply.body["meta"]["request_id"] == reply.headers["x-request-id"]


def test_outside_any_endpoint(wire):
    """Unknown paths and faults are in envelopes too."""
    assert wire.get("/v2/nothing/").body["error"]["code"] == "NOT_FOUND"
    rules = {"rules": [{"do": {"status": 429, "retry_after": 1}}]}
    wire.send("PUT", "/_emulator/faults/", rules)
    assert wire.get("/v2/plugins/").body["error"]["code"] == "RATE_LIMIT_EXCEEDED"
    assert wire.get("/plugins/1/").body == {"detail": "Fault: 429."}
