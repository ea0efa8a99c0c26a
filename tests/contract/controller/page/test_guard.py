"""Who may ask the page for what, and the headers of each answer."""

from __future__ import annotations

import re
import socket
import time
from base64 import b64encode
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from hashlib import sha256

import pytest
import requests
from unit.controller.page import page_samples as samples

from synapse_apply.controller.page import guard
from synapse_apply.controller.page.server import PageServer
from synapse_apply.model.errors import InputError

from .conftest import PUBLIC_HOST

PATHS = ["/", "/targets/acme/dev", "/sources/acme", "/none", "/metrics", "/healthz", "/readyz",
         "/badge/acme/dev.svg", "/icon.svg", "/api/v1/targets", "/api/v1/runs"]  # fmt: skip


def test_headers_without_end_are_not_kept(page):
    """The connection is ended long before the memory is."""
    host, _, port = page.url.removeprefix("http://").partition(":")
    with closing(socket.create_connection((host, int(port)), timeout=60)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        with pytest.raises(ConnectionError):
            connection.sendall(b"a" * 13_000_000)


def test_a_body_with_two_lengths_is_refused(page):
    """A proxy in front might take the other one: what follows is no request of its own."""
    host, _, port = page.url.removeprefix("http://").partition(":")
    head = f"POST /hooks/github HTTP/1.1\r\nHost: {host}:{port}\r\n"
    lengths = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with closing(socket.create_connection((host, int(port)), timeout=60)) as connection:
        connection.sendall(f"{head}{lengths}GET /healthz HTTP/1.1\r\n\r\n".encode())
        answers = b""
        while block := connection.recv(65536):
            answers += block
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1 ") == 1


def read_to_its_end(connection: socket.socket, *sent: str) -> None:
    """Send these pieces, and wait until the server ends the connection, maybe before them."""
    with suppress(ConnectionError):
        for piece in sent:
            connection.sendall(piece.encode())
        while connection.recv(65536):
            pass


@pytest.mark.parametrize("earlier_requests", [0, 1])
def test_a_head_without_end_is_not_waited_for(tmp_path, monkeypatch, earlier_requests):
    """Nobody keeps the page from others by requests that never begin."""
    store = samples.open_store(tmp_path)
    with PageServer(store, samples.StubLoop(), {}, lambda: samples.NOW) as server:
        address = server.url.removeprefix("http://").partition(":")
        host = f"Host: {address[0]}:{address[2]}\r\n"
        if not earlier_requests:
            monkeypatch.setattr(guard, "REQUEST_SECONDS", 0.3)
        with closing(socket.create_connection((address[0], int(address[2])), 60)) as connection:
            for _ in range(earlier_requests):
                connection.sendall(f"GET /healthz HTTP/1.1\r\n{host}\r\n".encode())
                assert connection.recv(65536).startswith(b"HTTP/1.1 ")
            monkeypatch.setattr(guard, "REQUEST_SECONDS", 0.3)
            read_to_its_end(connection, f"GET / HTTP/1.1\r\n{host}X-Slow: ")
    store.close()


SLOW_BODY = "POST /hooks/github HTTP/1.1\r\nHost: HOST\r\nContent-Length: 9\r\n\r\n{"


def test_a_body_without_end_is_not_waited_for(page, monkeypatch):
    """Also not while it comes byte by byte."""
    monkeypatch.setattr(guard, "REQUEST_SECONDS", 0.3)
    host, _, port = page.url.removeprefix("http://").partition(":")
    with closing(socket.create_connection((host, int(port)), 60)) as connection:
        read_to_its_end(connection, SLOW_BODY.replace("HOST", f"{host}:{port}"), " ")


@pytest.mark.parametrize(
    "sent",
    ["GET / HTTP/1.1\r\nX: ", "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n", SLOW_BODY],
)
def test_clients_that_wait_make_room_for_others(page, monkeypatch, sent):
    """Those that never end their request, and those that do not read what they asked for."""
    monkeypatch.setattr(guard, "MAX_CONNECTIONS", 4)
    host, _, port = page.url.removeprefix("http://").partition(":")
    with ExitStack() as connections:
        for _ in range(12):
            slow = connections.enter_context(socket.socket())
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            slow.connect((host, int(port)))
            slow.sendall(sent.replace("HOST", f"{host}:{port}").encode())
            if sent.endswith("\r\n\r\n"):
                slow.recv(1)
        if sent is SLOW_BODY:
            # So that all heads have been read.
            time.sleep(0.2)
        for path in ("/healthz", "/", "/targets/vision/lab"):
            assert page.get(path).status_code == 200


@pytest.mark.parametrize(
    "sent", [b"\x00nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"]
)
def test_what_is_no_request_fills_no_log(page, caplog, sent):
    """Anybody who reaches the page can send it."""
    host, _, port = page.url.removeprefix("http://").partition(":")
    with closing(socket.create_connection((host, int(port)), timeout=60)) as connection:
        connection.sendall(sent)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert caplog.messages == []


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_headers(page, path):
    headers = page.get(path).headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "server" not in headers


def test_the_policy_allows_exactly_the_style_and_scripts_of_the_page(page):
    """By hash; nothing is inline elsewhere, and nothing comes from another host."""
    answer = page.get("/targets/vision/lab")
    policy = answer.headers["Content-Security-Policy"]
    assets = re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", answer.text, re.DOTALL)
    hashes = {f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}" for text in assets}
    assert hashes == set(re.findall(r"sha256-[^']+", policy))
    assert "unsafe" not in policy
    assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", answer.text)
    assert not re.search(r'(?:src|action)="(?:https?:)?//', answer.text)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        (PUBLIC_HOST, 200),
        (f"{PUBLIC_HOST}:443", 200),
        (f"{PUBLIC_HOST}:8080", 421),
        (f"x.{PUBLIC_HOST}", 421),
        ("localhost:PORT", 200),
        ("[::1]:PORT", 200),
        ("127.0.0.1:1", 421),
        ("127.0.0.1.evil.example:PORT", 421),
        ("a b", 400),
        ("", 400),
    ],
)
def test_only_its_own_hosts_are_answered(page, host, status):
    """A web site cannot read a loopback page by a name of its own."""
    port = page.url.rpartition(":")[2]
    assert page.get("/", Host=host.replace("PORT", port)).status_code == status


def test_a_slash_too_many_leads_nowhere(page):
    """Least of all from https to plain http, where anybody may answer."""
    for path in ("/rollouts/", "/audit/", "/login/", "/api/v1/targets/"):
        answer = page.get(path, Host=page.url.removeprefix("http://"))
        assert (answer.status_code, "location" in answer.headers) == (404, False)


def test_probes_may_ask_by_any_host(page):
    """Kubernetes asks by the address of the pod."""
    for path in ("/healthz", "/readyz"):
        assert page.get(path, Host="10.1.2.3:8080").text == "ok\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_done_but_reading(page, method):
    answer = requests.request(method, page.url + "/", timeout=60)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_metrics_are_open_on_loopback_or_if_said(page, tmp_path):
    """Not by the public name of a proxy that leads here."""
    assert page.get("/metrics").status_code == 200
    assert page.get("/metrics", Host=PUBLIC_HOST).status_code == 421
    loop = samples.StubLoop(replace(samples.SETTINGS, open_metrics=True))
    with (
        closing(samples.open_store(tmp_path)) as store,
        PageServer(store, loop, {}) as server,
    ):
        for host, status in ((PUBLIC_HOST, 200), ("10.1.2.3:8080", 200), ("evil.example", 421)):
            answer = requests.get(f"{server.url}/metrics", headers={"Host": host}, timeout=60)
            assert answer.status_code == status


def test_a_page_that_fails_tells_nothing_and_the_next_one_is_answered(page, caplog, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("c4n4ry-value")

    with monkeypatch.context() as patched:
        patched.setattr(type(page.store), "list_configured_sources", fail)
        answer = page.get("/")
        assert (answer.status_code, answer.text) == (
            500,
            "The controller could not render the page. See its log.\n",
        )
        assert page.get("/readyz").status_code == 503
    assert "RuntimeError" in caplog.text
    assert "c4n4ry" not in caplog.text
    assert page.get("/").status_code == 200


def test_an_address_that_is_taken_is_an_error_for_people(page, tmp_path):
    port = int(page.url.rpartition(":")[2])
    loop = samples.StubLoop(replace(samples.SETTINGS, listen_port=port))
    with (
        pytest.raises(InputError) as raised,
        closing(samples.open_store(tmp_path)) as store,
        PageServer(store, loop, {}),
    ):
        pass
    assert raised.value.diagnostics[0].summary == ("The page cannot listen on its address")
