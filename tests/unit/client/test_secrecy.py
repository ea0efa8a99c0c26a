"""No token and no value of a body in any message, repr, event or log record."""

from __future__ import annotations

import html
import http.client
import json
import logging
import traceback
from contextlib import suppress
from urllib.parse import quote

import pytest
from unit.client.scripted import answer, reset

from synapse_apply import ClientError
from synapse_apply.client.calls import ClientCall, RequestEvent
from synapse_apply.client.http.multipart import MultipartBody

SECRET = "s3cr3t-value"
AGENT = "tok-agent"
STORAGE = {"name": "raw", "configuration": {"key": SECRET, "bucket": "b"}}

ECHOES = [
    {"configuration": {"key": [f"bad {SECRET}"]}, "name": ["taken"]},
    {"configuration": [f"bad {SECRET}"], "name": ["taken"]},
    {"detail": f"bad {SECRET}", "name": ["taken"]},
    {SECRET: ["bad"], "name": ["taken"]},
    {
        "detail": [
            {"loc": ["body", "configuration", "key"], "msg": SECRET},
            {"loc": ["body", "name"], "msg": "taken"},
        ]
    },
    {"error": {"message": SECRET, "details": [{"field": "name", "message": "taken"}]}},
]


def printed(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + str(error)


@pytest.mark.parametrize("echo", ECHOES)
def test_a_server_that_echoes_secrets(server, client, echo):
    """Words about fields without secrets are shown, all others are withheld."""
    server.then(answer(400, echo))
    with pytest.raises(ClientError) as caught:
        client.create_storage(STORAGE)
    assert SECRET not in printed(caught.value)
    assert "name: taken" in str(caught.value)
    assert "withheld" in str(caught.value)


@pytest.mark.parametrize("status", [200, 400, 404, 500])
def test_an_html_page_that_echoes_secrets(server, client, status):
    """A page's title is not printed when the request carried secrets."""
    server.then(answer(status, f"<html><title>{SECRET}</title>".encode(), Content_Type="text/html"))
    with pytest.raises(ClientError) as caught:
        client.create_storage(STORAGE)
    assert SECRET not in printed(caught.value)


def test_the_caller_says_what_is_sensitive(server, client):
    """A predicate over paths replaces the default."""
    server.then(*[answer(400, {"configuration": {"key": [SECRET], "bucket": ["too long"]}})] * 2)
    with pytest.raises(ClientError) as caught:
        client.create_storage(STORAGE, sensitive=lambda path: path[-1] == "key")
    assert SECRET not in printed(caught.value)
    assert "configuration.bucket: too long" in str(caught.value)
    with pytest.raises(ClientError, match=SECRET):
        client.create_plugin(STORAGE)


@pytest.mark.parametrize("steps", [[answer(500)], [reset()], [answer(200, b"<html>")]])
def test_tokens_are_nowhere(server, connect, caplog, capfd, monkeypatch, steps):
    """Not at the most verbose level, not with http.client's switch, in no exception."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    caplog.set_level(logging.DEBUG)
    client = connect(server, "tok-access", agent_token="tok-agent-header", tenant="acme")
    server.then(*steps)
    with pytest.raises(ClientError) as caught:
        client.health_check_agent(AGENT)
    assert "agents/***/connect/" in str(caught.value)
    texts = [printed(caught.value), repr(client), *capfd.readouterr(), caplog.text]
    assert all("tok-" not in text for text in texts)
    assert any("urllib3" in record.name for record in caplog.records)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_a_server_that_echoes_the_agent_token(server, client, status):
    """The path is quoted back, alone or in words: nothing of it is told."""
    text = f"no agent {AGENT} at /agents/{AGENT}/connect/"
    server.then(answer(status, {"detail": text, "token": [text], AGENT: [text]}))
    with pytest.raises(ClientError, match="withheld") as caught:
        client.health_check_agent(AGENT)
    assert AGENT not in printed(caught.value)


def test_a_page_or_a_redirect_that_echoes_the_agent_token(server, client):
    """Neither the title nor the place is told."""
    title = f"<html><title>{AGENT}</title>".encode()
    place = f"/agents/{AGENT}/connect/?next={AGENT}"
    server.then(
        answer(200, title, Content_Type="text/html"),
        answer(302, {}, Location=place),
    )
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            client.health_check_agent(AGENT)
        assert AGENT not in printed(caught.value)


TOKEN = 'T0ken/canary"&<0123456789'


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize(
    "body",
    [
        {"detail": f"Invalid token: Token {TOKEN}."},
        {"detail": [{"loc": ["header"], "msg": f"bad {TOKEN}"}]},
        {"error": {"message": f"not known: {TOKEN}"}},
        {TOKEN: ["bad"], "name": [TOKEN]},
        json.dumps({"detail": TOKEN}).replace("/", "\\/").encode(),
        f"bad token {TOKEN}".encode(),
        f"<html><title>{html.escape(TOKEN)}</title>".encode(),
        f"see /login?token={quote(TOKEN, safe='')}".encode(),
    ],
)
def test_a_server_that_quotes_the_token(server, connect, status, body):
    """Its words are told without it: they go into comments on pull requests."""
    client = connect(server, TOKEN, retries=0)
    server.then(answer(status, body, X_Request_ID="r-1"))
    with pytest.raises(ClientError) as caught:
        client.get_plugin("yolo")
    told = printed(caught.value) + repr(caught.value.detail)
    assert not any(form in told for form in (TOKEN, html.escape(TOKEN), "canary"))
    assert caught.value.request_id == "r-1"
    assert "(sensitive)" in str(caught.value)


def test_tokens_that_are_words_or_ids(server, connect):
    """A short one is masked where it stands alone; as a request id it is none."""
    client = connect(server, "token-9", retries=0, agent_token="agents")
    words = "Invalid tokens-99: token-9 of the user-agents; agents."
    server.then(answer(401, {"detail": words}, X_Request_ID="token-9"))
    with pytest.raises(ClientError) as caught:
        client.get_plugin("yolo")
    assert "Invalid tokens-99: (sensitive) of the user-(sensitive); (sensitive)." in str(
        caught.value
    )
    assert caught.value.request_id is None


@pytest.mark.parametrize("status", [201, 400, 500])
def test_a_secret_that_comes_back_as_a_request_id(server, connect, status):
    """What of a body that holds secrets comes back in its place is no id; another one is."""
    secret = "CaNaRy-0123456789"
    storage = {**STORAGE, "configuration": {"secret_access_key": secret}}
    for sent, told in [(secret, None), (secret[:9], None), ("r-7", "r-7")]:
        events: list[RequestEvent] = []
        client = connect(server, retries=0, on_request=events.append)
        server.then(answer(status, {"id": 1}, X_Request_ID=sent))
        with suppress(ClientError):
            client.create_storage(storage)
        server.then(answer(status, {"id": 1}, X_Request_ID=sent))
        with suppress(ClientError):
            client.update_plugin(1, {"configuration": {"key": secret}})
        assert [event.request_id for event in events] == [told, told]


def test_a_page_of_success_that_quotes_the_token(server, connect):
    """What is not JSON is described, by its title or its text."""
    client = connect(server, TOKEN)
    page = f"<html><title>Hello {html.escape(TOKEN)}</title>".encode()
    for body, kind in [(page, "text/html"), (TOKEN.encode(), "text/plain")]:
        server.then(answer(200, body, Content_Type=kind))
        with pytest.raises(ClientError) as caught:
            client.get_plugin("yolo")
        assert "canary" not in printed(caught.value) + repr(caught.value.detail)


def test_events_hold_no_values(server, connect):
    """Method, path, status, time, request id and attempt: enough for an audit."""
    events: list[RequestEvent] = []
    ticks = iter(range(100))
    client = connect(
        server, on_request=events.append, clock=lambda: float(next(ticks)), total_timeout=1000
    )
    server.then(answer(503), answer(200, X_Request_ID="r-1"), answer(201, {"id": 1}))
    client.get_job(1, {"expand": "logs"})
    client.create_storage(STORAGE)
    client.health_check_agent("tok-agent")
    assert [(e.method, e.path, e.status, e.attempt, e.mutates, e.failure) for e in events] == [
        ("GET", "jobs/1/", 503, 1, False, "ServerFault"),
        ("GET", "jobs/1/", 200, 2, False, None),
        ("POST", "storages/", 201, 1, True, None),
        ("POST", "agents/***/connect/", 200, 1, False, None),
    ]
    assert events[1].request_id == "r-1"
    assert all(event.seconds > 0 for event in events)
    assert SECRET not in repr(events)


def test_an_observer_that_fails_changes_nothing(server, connect, caplog):
    """A write that succeeded stays a success."""

    def broken(_event: object) -> None:
        raise RuntimeError("no disk")

    server.then(answer(201, {"id": 1}))
    assert connect(server, on_request=broken).create_plugin({}) == {"id": 1}
    assert "an observer of requests failed" in caplog.text


def test_reprs_hold_no_values(tmp_path):
    """A call's repr names it and no more."""
    call = ClientCall("POST", "agents/tok/connect/", body=json.dumps(STORAGE).encode())
    assert repr(call) == "<Call POST agents/***/connect/>"
    (tmp_path / "a.zip").write_bytes(b"")
    body = MultipartBody({"k": SECRET}, tmp_path / "a.zip")
    assert SECRET not in repr(body)
    body.close()


def test_data_that_cannot_be_sent_is_not_quoted(client):
    """The value that is not JSON stays out of the message and of what it is raised from."""
    with pytest.raises(ClientError) as caught:
        client.create_plugin({"a": float("inf"), "b": SECRET})
    assert "inf" not in str(caught.value).replace("infinity", "")
    assert SECRET not in printed(caught.value)
