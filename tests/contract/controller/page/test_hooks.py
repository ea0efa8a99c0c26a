"""Webhooks of forges make one fetch come sooner, and only genuine ones do."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from contextlib import ExitStack

import pytest
import requests
from forges.loopback_server import wait_until

from .conftest import HOOK_SECRET, ServedPage

GITHUB_PUSH = json.dumps({"ref": "refs/heads/main", "repository": {"full_name": "Acme/Synapse"}})
GITLAB_PUSH = json.dumps({"project": {"path_with_namespace": "vision/plugins"}})


def sign(body: str, secret: str = HOOK_SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()


@pytest.fixture
def asked(page: ServedPage) -> list[str]:
    page.loop.asked.clear()
    return page.loop.asked


def test_a_push_on_github_is_fetched_soon(page, asked):
    body = GITHUB_PUSH.encode()
    answer = page.post("/hooks/github", body, X_Hub_Signature_256=sign(GITHUB_PUSH))
    assert (answer.status_code, answer.text) == (
        202,
        "The controller will fetch the repository soon.\n",
    )
    assert asked == ["acme"]


def test_a_push_on_gitlab_is_fetched_soon(page, asked):
    answer = page.post("/hooks/gitlab", GITLAB_PUSH.encode(), X_Gitlab_Token=HOOK_SECRET)
    assert answer.status_code == 202
    assert asked == ["vision"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/hooks/github", {}),
        ("/hooks/github", {"X_Hub_Signature_256": sign(GITHUB_PUSH, "another")}),
        ("/hooks/github", {"X_Hub_Signature_256": sign(GITHUB_PUSH + " ")}),
        ("/hooks/github", {"X_Hub_Signature_256": sign(GITHUB_PUSH)[7:]}),
        ("/hooks/github", {"X_Hub_Signature": sign(GITHUB_PUSH)}),
        ("/hooks/github", {"X_Gitlab_Token": HOOK_SECRET}),
        ("/hooks/gitlab", {}),
        ("/hooks/gitlab", {"X_Gitlab_Token": HOOK_SECRET + "x"}),
        ("/hooks/gitlab", {"X_Gitlab_Token": HOOK_SECRET[:-1]}),
    ],
)
def test_who_has_not_the_secret_has_no_effect(page, asked, path, headers):
    assert page.post(path, GITHUB_PUSH.encode(), **headers).status_code == 403
    assert asked == []


@pytest.mark.parametrize(
    "body", ["", "[]", "{", '{"repository": 1}', '{"repository": {"full_name": "x/y"}}', "[" * 9999]
)
def test_an_odd_body_or_another_repository_has_no_effect(page, asked, body):
    answer = page.post("/hooks/github", body.encode(), X_Hub_Signature_256=sign(body))
    assert (answer.status_code, answer.text) == (202, "No source has this repository.\n")
    assert asked == []


def test_a_body_that_is_too_large_is_not_read_to_its_end(page, asked):
    answer = page.post("/hooks/github", b"x" * (2 * 1024 * 1024 + 1))
    assert answer.status_code == 413
    assert asked == []


def test_a_flood_of_bodies_takes_no_memory(page, asked):
    """Eight that nobody has ended yet are read side by side, further ones are told to come later."""
    head = (
        f"POST /hooks/github HTTP/1.1\r\nHost: {page.url.removeprefix('http://')}\r\n"
        "Content-Length: 1000000\r\n\r\nx"
    )
    address = page.url.removeprefix("http://").rsplit(":", 1)
    with ExitStack() as stack:
        opened = [
            stack.enter_context(socket.create_connection((address[0], int(address[1])), 60))
            for _ in range(8)
        ]
        for connection in opened:
            connection.sendall(head.encode())

        def answer() -> requests.Response:
            headers = {"X_Hub_Signature_256": sign(GITHUB_PUSH)}
            return page.post("/hooks/github", GITHUB_PUSH.encode(), **headers)

        wait_until(lambda: answer().status_code == 503, 60, "all are read")
        assert answer().headers["Retry-After"]
    wait_until(lambda: answer().status_code == 202, 60, "they have ended")
    assert asked


def test_a_replay_asks_for_no_more_than_a_fetch(page, asked):
    """A flood is answered at once; what the loop makes of it is one fetch."""
    headers = {"X-Hub-Signature-256": sign(GITHUB_PUSH)}
    with requests.Session() as session:
        for _ in range(50):
            session.post(f"{page.url}/hooks/github", GITHUB_PUSH, headers=headers, timeout=60)
    assert set(asked) == {"acme"}


def test_a_hook_needs_a_secret_and_a_post(page, empty_page):
    assert empty_page.post("/hooks/github", b"{}").status_code == 404
    assert empty_page.post("/hooks/gitlab", b"{}").status_code == 404
    assert page.get("/hooks/github").status_code == 405


def test_no_answer_and_no_log_has_the_secret(page, caplog, capfd):
    answers = [
        page.post("/hooks/gitlab", b"{}", X_Gitlab_Token=HOOK_SECRET),
        page.post("/hooks/gitlab", b"{}", X_Gitlab_Token=HOOK_SECRET + "x"),
        *map(page.get, ("/", "/metrics", "/hooks/gitlab", f"/{HOOK_SECRET[:3]}")),
    ]
    printed = capfd.readouterr()
    for text in (*(answer.text for answer in answers), caplog.text, printed.out, printed.err):
        assert HOOK_SECRET not in text
