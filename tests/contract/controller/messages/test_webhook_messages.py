"""What a webhook gets, and what is said when it does not take it."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path

import jsonschema
import pytest
from forges.hooks import WebhookSink
from forges.loopback_server import Failure
from installed import ROOT

from synapse_apply.controller.outbox.messages import build_message_fields, build_message_sender
from synapse_apply.controller.rows import (
    ChangeCounts,
    MessageRow,
    RolloutRow,
    RolloutState,
    TargetName,
)
from synapse_apply.controller.settings import Channel, Event, SecretName
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import Sensitive

SECRET = "cAn4ry-secret-of-a-hook-5555"
PATH = "/hooks/cAn4ry-path-5555"
SCHEMA = json.loads((ROOT / "schemas/v1/controller-message.schema.json").read_text("utf-8"))
PAGE = (ROOT / "docs/controller-messages.md").read_text("utf-8")
COMMIT = "1a2b3c4d" * 5
CHANNEL = Channel("webhook 1", "webhook", SecretName("env", "HOOK_URL"), frozenset(Event))


@pytest.fixture
def sink():
    with WebhookSink() as server:
        yield server


def build(sink, secret=SECRET):
    return build_message_sender(
        CHANNEL,
        Sensitive(f"{sink.url}{PATH}?key=cAn4ry-query"),
        Sensitive(secret) if secret else None,
    )


def row(event=Event.FAILED, message_id="01J.9/ä", **fields):
    fields = {
        "controller": "main",
        "source": "acme",
        "target": TargetName("acme", "prod"),
        **fields,
    }
    return MessageRow(
        message_id, CHANNEL.name, event.value, "fact", build_message_fields(**fields), 1772357400.7
    )


FINDING = error_finding("A manifest is broken", "a.yaml:3: a tab", "Use spaces.")
ROLLOUT = RolloutRow("acme", "all", 7, COMMIT, 1.0, 3, wave=2, state=RolloutState.STOPPED)
EVERY = [
    row(finding=FINDING, commit=COMMIT, url="https://page.example/x"),
    row(target=None, finding=FINDING.with_changes(detail="x" * 3900, hint="y" * 3900)),
    row(Event.DRIFT, counts=ChangeCounts(change=2, drifted=2), commit=COMMIT),
    row(Event.RECOVERED, counts=ChangeCounts()),
    row(Event.HELD, is_reminder=True),
    row(Event.PAUSED),
    row(target=None, rollout=ROLLOUT, finding=FINDING),
    row(finding=FINDING, failure_count=5),
]


@pytest.mark.parametrize("message", EVERY, ids=lambda message: message.event)
def test_each_body_has_the_shape_of_the_schema(sink, message):
    """Every key, and no other; whoever has a secret can tell that it is ours, with the page's code."""
    assert build(sink).send(message).finding is None
    [request] = sink.requests
    assert (request.method, request.path, request.query) == ("POST", PATH, {"key": "cAn4ry-query"})
    closed = {**SCHEMA, "additionalProperties": False}
    jsonschema.validate(request.json, closed, format_checker=jsonschema.FormatChecker())
    assert request.json["id"] == message.id
    assert request.json["time"] == "2026-03-01T09:30:00Z"
    receiver: dict = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], receiver)
    is_genuine = receiver["is_genuine"]
    assert is_genuine(request.headers, request.body, SECRET.encode())
    assert not is_genuine(request.headers, request.body + b" ", SECRET.encode())
    assert not is_genuine(request.headers, request.body, b"another")
    assert not is_genuine({**request.headers, "webhook-id": "other"}, request.body, SECRET.encode())
    assert re.fullmatch(r"[^.]+", request.headers["webhook-id"])


def test_the_example_of_the_page_has_the_shape():
    """It is what people write receivers from."""
    jsonschema.validate(json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1]), SCHEMA)


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (EVERY[0], "acme/prod failed: A manifest is broken"),
        (EVERY[1], "source acme failed: A manifest is broken"),
        (EVERY[2], "acme/prod has drifted: 2 to change, 2 drifted"),
        (EVERY[3], "acme/prod recovered"),
        (EVERY[4], "Reminder: acme/prod needs attention"),
        (EVERY[5], "acme/prod is paused"),
        (EVERY[6], "rollout all failed: A manifest is broken"),
        (EVERY[7], "acme/prod failed 5 times in a row: A manifest is broken"),
    ],
)
def test_one_sentence_says_which_target_what_and_why(sink, message, sentence):
    """It is all that a telephone shows."""
    assert build(sink).send(message).finding is None
    assert sink.messages[0]["summary"] == sentence


def test_a_command_in_a_hint_names_the_target(sink):
    """It is copied from a message in which nothing else chooses one."""
    finding = error_finding("There is no state", "", Text("Run ", Command("state init"), "."))
    assert build(sink).send(row(finding=finding)).finding is None
    assert sink.messages[0]["finding"]["hint"] == "Run `synapse-apply state init -t prod`."


def test_the_id_stays_and_the_time_of_the_signature_goes_on(sink, monkeypatch):
    """A second attempt is the same message, and no replay of an old one."""
    sender = build(sink)
    sink.failures.append(Failure(is_answer_lost=True))
    assert sender.send(EVERY[0]).finding is not None
    later = time.time() + 100
    monkeypatch.setattr(sender, "_wall_clock", lambda: later)
    assert sender.send(EVERY[0]).finding is None
    first, second = sink.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) >= 99


def test_a_secret_in_the_standards_form_is_decoded(sink):
    """As its libraries show it; a channel without a secret is not signed."""
    key = bytes(range(32))
    assert build(sink, f"whsec_{base64.b64encode(key).decode()}").send(EVERY[0]).finding is None
    assert build(sink, None).send(EVERY[0]).finding is None
    signed, unsigned = sink.requests
    receiver: dict = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], receiver)
    assert receiver["is_genuine"](signed.headers, signed.body, key)
    assert "webhook-signature" not in unsigned.headers


@pytest.mark.parametrize(
    ("status", "headers", "wait", "is_final"),
    [
        (410, {}, None, True),
        (404, {}, None, False),
        (400, {}, None, False),
        (302, {"Location": "http://127.0.0.1:9/elsewhere"}, None, False),
        (429, {"Retry-After": "7"}, 7, False),
        (429, {}, 60, False),
        (500, {}, None, False),
        (503, {"Retry-After": "999999"}, 3600, False),
    ],
)
def test_what_a_refusal_means(sink, caplog, status, headers, wait, is_final):
    """Later, or never; neither the url nor the secret is in any text or log."""
    caplog.set_level("DEBUG")
    sender = build(sink)
    echo = f"{SECRET} {PATH}".encode()
    sink.failures.append(Failure(status, {**headers, "X-Echo": PATH}, echo))
    result = sender.send(EVERY[0])
    assert (result.retry_after, result.is_final) == (wait, is_final)
    assert result.finding.hint
    texts = f"{result!r} {sender!r} {vars(sender)!r} {caplog.text}"
    assert "cAn4ry" not in texts
    assert len(sink.requests) == 1


def test_an_address_that_nobody_answers_is_told_without_its_path(sink):
    """The channel's name says which one it is."""
    sender = build_message_sender(CHANNEL, Sensitive(f"http://127.0.0.1:9{PATH}"), None)
    result = sender.send(EVERY[0])
    assert "webhook 1" in result.finding.summary
    assert "cAn4ry" not in repr(result)
    assert not result.is_final


@pytest.mark.parametrize("url", ["", "cAn4ry", "ftp://cAn4ry/x", "https://u:cAn4ry@h/x", "https://h/cAn4ry x", "https://h:x/cAn4ry", "https://h/x#cAn4ry", "https://h/\ncAn4ry", "https://[::1/cAn4ry"])  # fmt: skip
def test_an_unusable_url_is_refused_and_not_quoted(url):
    """It may be a mistyped secret."""
    with pytest.raises(InputError) as caught:
        build_message_sender(CHANNEL, Sensitive(url), None)
    assert "cAn4ry" not in repr(caught.value.diagnostics)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("secret", ["", "cAn4ry-short", "whsec_cAn4ry!", "whsec_YWJj"])
def test_an_unusable_secret_is_refused_and_not_quoted(sink, secret):
    """A signature under a word from a dictionary proves nothing."""
    with pytest.raises(InputError) as caught:
        build_message_sender(CHANNEL, Sensitive(sink.url), Sensitive(secret))
    assert "cAn4ry" not in repr(caught.value.diagnostics)


def test_the_page_names_every_event():
    """As many as there are."""
    assert set(
        re.findall(r"^\| `([a-z]+)`", PAGE.partition("\n## Messages\n")[2], re.MULTILINE)
    ) == {event.value for event in Event}
    assert set(SCHEMA["properties"]["event"]["enum"]) == {event.value for event in Event}
    assert Path(ROOT / "docs/controller-messages.md").is_file()
