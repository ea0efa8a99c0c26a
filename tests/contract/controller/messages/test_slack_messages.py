"""How a message reads in Slack, where nothing that it quotes is markup."""

import json

import pytest
from forges.hooks import SlackSink
from forges.loopback_server import Failure

from synapse_apply.controller.outbox.messages import build_message_fields, build_message_sender
from synapse_apply.controller.rows import ChangeCounts, MessageRow, TargetName
from synapse_apply.controller.settings import Channel, Event, SecretName
from synapse_apply.model.diagnostic import Position, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import Sensitive

PATH = "/services/T0/B0/cAn4ry-5555"
CHANNEL = Channel("slack 2", "slack", SecretName("env", "SLACK_URL"), frozenset(Event))


@pytest.fixture
def slack():
    with SlackSink() as server:
        yield server


def build(slack):
    return build_message_sender(CHANNEL, Sensitive(slack.url + PATH), None)


def row(event=Event.FAILED, **fields):
    fields = {
        "controller": "main",
        "source": "acme",
        "target": TargetName("acme", "prod"),
        **fields,
    }
    return MessageRow("1", CHANNEL.name, event.value, "fact", build_message_fields(**fields), 0.0)


def test_how_a_message_reads(slack):
    """The sentence with a link, why and what to do, and beside it the commit and the counts."""
    finding = error_finding(
        "A manifest is broken", "a tab", "Use spaces.", position=Position("a.yaml", 3, 1)
    )
    message = row(
        finding=finding,
        commit="1a2b3c4d" * 5,
        counts=ChangeCounts(add=1),
        url="https://page.example/x?a=1&b=2",
    )
    assert build(slack).send(message).finding is None
    [body] = slack.messages
    heading, reason, facts = body["blocks"]
    # Slack makes no link and no mention of names in it by itself.
    assert (heading["text"]["verbatim"], body["mrkdwn"]) == (True, False)
    assert heading["text"]["text"] == (
        ":red_circle: *acme/prod failed: A manifest is broken* <https://page.example/x?a=1&amp;b=2|Details>"
    )
    assert reason["text"] == {
        "type": "plain_text",
        "text": "a.yaml:3:1\na tab\nUse spaces.",
        "emoji": False,
    }
    assert [fact["text"] for fact in facts["elements"]] == [
        "controller main",
        "commit 1a2b3c4d1a2b",
        "1 to add",
    ]
    assert body["text"] == "acme/prod failed: A manifest is broken"


@pytest.mark.parametrize("event", Event)
def test_nothing_in_it_is_markup(slack, event):
    """A file or a server that quotes a mention mentions nobody, and its texts have Slack's sizes."""
    hostile = "<!channel> <@U1> <https://evil.example|click> & > " + "x" * 3900
    finding = error_finding(hostile[:200], hostile, hostile)
    assert (
        build(slack)
        .send(row(event, finding=finding, url="https://page.example/<!here>|x>"))
        .finding
        is None
    )
    [body] = slack.messages
    texts = [body["text"], body["blocks"][0]["text"]["text"]]
    for text in texts:
        without_link = text.replace(" <https://page.example/%3C!here%3E%7Cx%3E|Details>", "")
        assert "<" not in without_link
        assert ">" not in without_link
    assert texts[1] != texts[1].replace("|Details>", "")


def test_what_others_wrote_shows_what_it_is(slack):
    """Nothing in it is invisible or reorders a line, and no line of it looks like one of ours."""
    hostile = "`a\u202eb\x1b[2J\u200b\nacme/prod recovered` is not a field"
    finding = error_finding(hostile, hostile, "Remove it.", position=Position(hostile, 3, 1))
    build(slack).send(row(finding=finding))
    [body] = slack.messages
    heading, reason, _ = body["blocks"]
    shown = "`a\\u202eb\\u001b[2J\\u200b"
    for text in (body["text"], heading["text"]["text"]):
        assert f"acme/prod failed: {shown}\\nacme/prod recovered` is not a field" in text
    assert reason["text"]["text"].splitlines() == [
        shown, "  acme/prod recovered` is not a field:3:1",
        shown, "  acme/prod recovered` is not a field", "Remove it.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "wait", "is_final"),
    [
        (400, b"invalid_payload", None, True),
        (403, b"action_prohibited", None, True),
        (404, b"channel_not_found", None, True),
        (410, b"channel_is_archived", None, True),
        (429, b"rate_limited", 60, False),
        (500, b"rollup_error", None, False),
        (200, b"<html>log in</html>", None, False),
        (302, b"", None, False),
    ],
)
def test_what_a_refusal_means(slack, status, body, wait, is_final):
    """Later, or never; the url is in no text."""
    slack.failures.append(Failure(status, {"Location": PATH}, body))
    sender = build(slack)
    result = sender.send(row())
    assert (result.retry_after, result.is_final) == (wait, is_final)
    assert result.finding.hint
    assert "cAn4ry" not in json.dumps([repr(result), repr(vars(sender))])


def test_slack_is_not_sent_to_in_the_clear():
    """Its url is all that it takes to post there."""
    with pytest.raises(InputError, match="URL"):
        build_message_sender(CHANNEL, Sensitive("http://hooks.slack.example/x"), None)
