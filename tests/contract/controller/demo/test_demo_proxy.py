"""The demo's proxy names whoever asks it, and nobody can name themselves."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests
from answering import Answering, answering

from synapse_apply.controller.demo.demo_files import SECRET_HEADER, USER, USER_HEADER, DemoProxy
from synapse_apply.model.values import Sensitive

SECRET = "s3cret-of-the-demo-proxy"


@pytest.fixture
def upstream() -> Iterator[Answering]:
    with answering(lambda asked: (201, {"path": asked.path}, {"X-Of-Page": "yes"})) as served:
        yield served


@pytest.fixture
def url(upstream: Answering) -> Iterator[str]:
    port = urlsplit(upstream.url).port
    assert port is not None
    with DemoProxy(port, Sensitive(SECRET)) as proxy:
        yield proxy.url


def test_a_browser_is_named_and_cannot_name_itself(url, upstream):
    """Host, path, body and answer pass as they are."""
    forged = {USER_HEADER: "root", SECRET_HEADER.lower(): "guess", "Host": "page.example"}
    answer = requests.post(f"{url}/targets/a?b=c", json={"d": 1}, headers=forged, timeout=60)
    assert (answer.status_code, answer.json()) == (201, {"path": "/targets/a"})
    assert answer.headers["X-Of-Page"] == "yes"
    [asked] = upstream.asked
    assert (asked.query, asked.body) == ({"b": "c"}, {"d": 1})
    headers = {name.lower(): value for name, value in asked.headers.items()}
    assert headers["host"] == "page.example"
    assert headers[USER_HEADER.lower()] == USER
    assert headers[SECRET_HEADER.lower()] == SECRET


def test_who_has_a_token_gets_no_name(url, upstream):
    """So that a program is what its token says, and a forged name still counts for nothing."""
    forged = {"Authorization": "Bearer abc", USER_HEADER: "root", SECRET_HEADER: SECRET}
    requests.get(f"{url}/api/v1/targets", headers=forged, timeout=60)
    headers = {name.lower() for name in upstream.asked[0].headers}
    assert "authorization" in headers
    assert not {USER_HEADER.lower(), SECRET_HEADER.lower()} & headers


def test_a_page_that_is_not_there_yet_is_tried_again():
    """And a body without end is not read."""
    with socket.socket() as nothing:
        nothing.bind(("127.0.0.1", 0))
        with DemoProxy(nothing.getsockname()[1], Sensitive(SECRET)) as proxy:
            answer = requests.get(proxy.url, timeout=60)
            assert (answer.status_code, answer.headers["Refresh"]) == (502, "1")
            large = {"Content-Length": f"{1 << 40}"}
            answer = requests.post(proxy.url, headers=large, timeout=60)
            assert answer.status_code == 413
    assert SECRET not in repr(proxy)
