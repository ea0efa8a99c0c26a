"""Bodies of every form, and errors as Django REST framework words them."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("content_type", "content", "status"),
    [
        (JSON, b"{", 400),
        (JSON, b"\xff\xfe\xfa", 400),
        (JSON, b'{"name": NaN}', 400),
        (JSON, rb'{"name": "\ud800"}', 400),
        (JSON, b'{"name": "x", "configuration": {"a": ' + b"[" * 90_000 + b"]" * 90_000 + b"}}", 400),
        (JSON, b'{"name": "x", "configuration": ' + b'{"a":' * 600 + b"1" + b"}" * 601, None),
        (JSON, b'{"name": "x", "configuration": {"a": ' + b"9" * 5000 + b"}}", 400),
        (MULTIPART, b"--x\r\nContent-Disposition: form-data", 400),
        (MULTIPART, b"no parts", 400),
        ("multipart/form-data", b"", 400),
        ("text/plain", b"name=x", 415),
        ("", b"name=x", 415),
        ("application/yaml", b"name: x", 415),
    ],
)  # fmt: skip
def test_unreadable_bodies(wire, content_type, content, status):
    """400 or 415 with a detail, never a crash."""
    reply = wire.send("POST", "/plugins/", content, Content_Type=content_type)
    if status is None:  # depends on how deep this Python can go
        assert reply.status in (201, 400)
        return
    assert reply.status == status
    assert list(reply.body) == ["detail"]


def test_a_list_is_not_an_object(wire):
    """400 under the name Django REST framework uses."""
    reply = wire.post("/plugins/", [1])
    assert (reply.status, list(reply.body)) == (400, ["non_field_errors"])


def test_surrogate_pairs_and_wide_letters_pass(wire):
    """Escaped or not, what is text comes back as it was."""
    name = "이미지 처리 🎉"
    content = json.dumps({"name": name}).encode()
    assert wire.send("POST", "/plugins/", content, Content_Type=JSON).body["name"] == name


def test_plain_forms(wire):
    """Objects as JSON texts, booleans as texts."""
    content = urlencode(
        {"name": "raw", "provider": "ftp", "is_default": "True", "configuration": '{"a": 1}'}
    )
    storage = wire.send("POST", "/storages/", content.encode(), Content_Type=FORM).body
    assert (storage["is_default"], storage["configuration"]) == (True, {"a": 1})


@pytest.mark.parametrize("path", ["/plugins/1/", "/storages/0/", "/storages/-1/", "/storages/x/"])
def test_unknown_ids(wire, path):
    """404, whatever stands there."""
    assert wire.get(path).status == 404


def test_every_answer_has_a_request_id_of_its_own(wire):
    """Whatever its status; the request log knows the same id."""
    ids = set()
    for method, path in (
        ("GET", "/storages/"), ("GET", "/nothing/"), ("DELETE", "/jobs/"), ("POST", "/plugins/"),
        ("GET", "/_emulator/health"),
    ):  # fmt: skip
        ids.add(wire.send(method, path).headers["x-request-id"])
    assert len(ids) == 5
    logged = {entry["request_id"] for entry in wire.get("/_emulator/requests").body["last"]}
    assert len(ids & logged) == 3


def test_bodies_over_the_limit(start, tmp_path):
    """413 for JSON and multipart, announced or not; nothing is left on disk."""
    wire = start(max_upload=10_000)
    wire.plugin(code="yolo")
    large = b"x" * 20_000
    parts = (("plugin", "yolo"), ("version", "1"), ("file", large))
    assert wire.post_form("/plugin_releases/", *parts).status == 413
    assert wire.post("/plugins/", {"name": "x", "description": large.decode()}).status == 413
    chunked = wire.send("POST", "/plugins/", large, Transfer_Encoding="chunked", Content_Type=JSON)
    assert chunked.status in (400, 413)
    assert list((tmp_path / "data" / "incoming").iterdir()) == []
    assert wire.get("/plugin_releases/").body["count"] == 0


def test_a_crash_is_an_answer_too(wire):
    """500 as JSON, with a request id and without a traceback; the server goes on."""
    wire.plugin(code="yolo")
    wire.run("yolo")
    wire.patch("/_emulator/objects/job/1/", {"script": None})
    reply = wire.get("/jobs/1/")
    assert (reply.status, list(reply.body)) == (500, ["detail"])
    assert reply.headers["x-request-id"]
    assert wire.get("/plugins/1/").status == 200
