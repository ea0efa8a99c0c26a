"""The stand-in itself, where the client asks for one answer of several that the facts have."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from contract.vendor.packages import config_of, zip_of
from contract.vendor.world import OTHER_TOKEN, SESSION_TOKEN, TENANT, TOKEN
from openers import get_opener_without_proxy

from synapse_apply import ClientError

OURS = {"Synapse-Access-Token": f"Token {TOKEN}"}


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
    """The status and the body of an answer, JSON where it is some."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, headers=names, method=method)
    try:
        with get_opener_without_proxy().open(request, timeout=60) as answer:
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as failure:
        with failure:
            status, body = failure.code, failure.read()
    try:
        return status, json.loads(body)
    except ValueError:
        return status, body.decode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OURS, 200),
        ({"Synapse-Access-Token": TOKEN}, 401),
        ({"Authorization": f"Token {SESSION_TOKEN}", "Synapse-Tenant": f"Token {TENANT}"}, 200),
        ({"Authorization": f"Token {SESSION_TOKEN}", "Synapse-Tenant": TENANT}, 200),
        ({"Authorization": f"Token {SESSION_TOKEN}"}, 401),
        ({"Authorization": f"Bearer {SESSION_TOKEN}", "Synapse-Tenant": TENANT}, 401),
        ({}, 401),
    ],
)
def test_the_forms_of_who_asks(backend, headers, status):
    assert ask(f"{backend.url}/plugins/", **headers)[0] == status


def test_an_access_token_outranks_a_session(backend):
    backend.world.add_plugin(TENANT, "Ours", "ours")
    other = {"Synapse-Access-Token": f"Token {OTHER_TOKEN}"}
    pair = {"Authorization": f"Token {SESSION_TOKEN}", "Synapse-Tenant": TENANT}
    assert ask(f"{backend.url}/plugins/", **pair)[1]["count"] == 1
    assert ask(f"{backend.url}/plugins/", **pair, **other)[1]["count"] == 0


def test_texts_are_korean_unless_english_is_asked_for(backend):
    url = f"{backend.url}/plugins/9/"
    assert ask(url, **OURS) == (404, {"detail": "찾을 수 없습니다."})
    assert ask(url, **OURS, Accept_Language="en-US,en") == (404, {"detail": "Not found."})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "plugins/1/"),
        ("PATCH", "plugins/1/"),
        ("DELETE", "plugin_releases/1/"),
        ("PATCH", "plugin_releases/1/"),
        ("PUT", "storages/1/"),
        ("DELETE", "storages/1/"),
        ("POST", "jobs/"),
    ],
)
def test_verbs_that_no_tool_has(backend, method, path):
    assert ask(f"{backend.url}/{path}", method, **OURS)[0] == 405


def test_health_needs_no_token_and_a_foreign_path_is_no_api(backend):
    assert ask(f"{backend.url}/health")[0] == ask(f"{backend.url}/health/")[0] == 200
    status, body = ask(f"{backend.url}/nowhere/", **OURS)
    assert (status, body[:4]) == (404, "<h1>")


def test_the_edge_refuses_long_requests(backend):
    assert ask(f"{backend.url}/plugins/?search={'x' * 12_000}", **OURS)[0] == 520
    assert ask(f"{backend.url}/plugins/", **OURS, X_Long="x" * 12_000)[0] == 520


def test_a_locked_version_is_never_published_again(backend, client):
    """Not even for debugging, which else replaces what is there."""
    plugin = backend.world.add_plugin(TENANT, "Yolo", "yolo")
    backend.world.add_release(plugin, "1.0.0", b"locked", is_released=True)
    data = {"plugin": "yolo", "version": "1.0.0", "debug": True}
    with pytest.raises(ClientError) as caught:
        client.create_plugin_release({**data, "file": io.BytesIO(zip_of(config_of()))})
    assert caught.value.status_code == 400
    assert [one["content"] for one in backend.world.releases] == [b"locked"]


def test_a_package_may_be_behind_a_redirect(serve, connect):
    backend = serve(file_redirect="http://127.0.0.1:9/elsewhere")
    plugin = backend.world.add_plugin(TENANT, "Yolo", "yolo")
    backend.world.add_release(plugin, "1.0.0", b"bytes")
    url = connect(backend).get_plugin_release_by_lookup("yolo@1.0.0")["file"]
    with pytest.raises(urllib.error.URLError, match="refused"):
        ask(url)


def test_an_unexpected_request_fails_the_test(serve):
    """A crash of the stand-in is not taken for the vendor's 500."""
    backend = serve()
    status, _ = ask(f"{backend.url}/v2/plugins/?per_page=many", Synapse_Access_Token=TOKEN)
    assert status == 500
    assert "ValueError" in backend.site.crashes.pop()
