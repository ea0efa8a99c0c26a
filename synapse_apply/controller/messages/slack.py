"""How a message reads in Slack, and how it is posted to an incoming webhook.

Sources: docs.slack.dev, "Sending messages using incoming webhooks", "Formatting message text" (what
is to be escaped: &, < and >) and "Block Kit" (3,000 characters in a section). Texts that came from
files and servers are plain text there, in which nothing is markup.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from synapse_apply.controller.delivery import (
    Receiver,
    UndeliveredError,
    encode_compact_json,
    read_retry_after,
)
from synapse_apply.controller.messages.message_fields import format_message_sentence, message_counts
from synapse_apply.controller.ports import SendResult
from synapse_apply.controller.rows import MessageRow
from synapse_apply.controller.settings import MINUTE, Channel
from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.values import Sensitive

_MAX_SECTION, _MAX_HEADING, _MAX_CONTEXT = 2900, 400, 300
_ICONS = {
    "failed": ":red_circle:",
    "recovered": ":large_green_circle:",
    "held": ":hourglass_flowing_sand:",
    "drift": ":large_orange_circle:",
    "paused": ":double_vertical_bar:",
}
# What an incoming webhook says of itself: a message that is sent again is refused again.
_REASONS_BY_FINAL_STATUS = {
    400: "it does not understand the message",
    403: "the workspace does not let this webhook post",
    404: "the webhook or its channel is gone",
    410: "the channel is archived",
}


class SlackMessageSender:
    """A MessageSender for one incoming webhook of Slack; its URL is a secret."""

    def __init__(
        self, channel: Channel, url: Sensitive, wall_clock: Callable[[], float] = time.time
    ) -> None:
        """InputError for a URL that cannot be used."""
        self._name = f"Slack webhook {channel.name}"
        self._receiver = Receiver(self._name, url, what_is_named=f"The url of {channel.name}")
        self._wall_clock = wall_clock

    def send(self, row: MessageRow) -> SendResult:
        """As MessageSender."""
        try:
            answer = self._receiver.send_json_once(
                "POST", "", {}, encode_compact_json(build_slack_body(row))
            )
        except UndeliveredError as failure:
            return failure.result
        # A login page or a proxy answers 200, too.
        if answer.status == 200 and answer.body.strip() == b"ok":
            return SendResult()
        if answer.status in _REASONS_BY_FINAL_STATUS:
            reason = _REASONS_BY_FINAL_STATUS[answer.status]
            finding = error_finding(
                "Slack refuses the message",
                f"{self._name} answered {answer.status}: {reason}",
                "Make a new incoming webhook for a channel, and set it as url in notify.",
            )
            return SendResult(finding, is_final=True)
        retry_after = read_retry_after(answer, self._wall_clock)
        if answer.status == 429 and retry_after is None:
            retry_after = MINUTE
        finding = error_finding(
            "Slack did not take the message",
            f"{self._name} answered {answer.status}, and not as Slack does when it takes one",
            "It is tried again by itself; check its url in notify.",
        )
        return SendResult(finding, retry_after)


def build_slack_body(row: MessageRow) -> JsonDocument:
    """The body of a message: blocks, and a text for notifications."""
    fields = row.fields
    sentence = _cut_with_ellipsis(format_message_sentence(row), _MAX_HEADING)
    heading = f"{_ICONS.get(row.event, ':information_source:')} *{_escape_slack_markup(sentence)}*"
    if url := fields.get("url"):
        heading += f" <{_quote_slack_url(str(url))}|Details>"
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "mrkdwn", "text": heading}}
    ]
    finding = fields.get("finding")
    if isinstance(finding, Mapping):
        texts = [str(finding.get(name) or "") for name in ("position", "detail", "hint")]
        if text := "\n".join(text for text in texts if text):
            blocks.append({"type": "section", "text": _plain_text(text, _MAX_SECTION)})
    held_rows = fields.get("held")
    if isinstance(held_rows, Mapping):
        lines = [
            f"{row.get('action')} {row.get('address')}: {row.get('summary')}"
            for row in held_rows.get("rows", [])
        ]
        if text := "\n".join(lines):
            blocks.append({"type": "section", "text": _plain_text(text, _MAX_SECTION)})
    facts = [
        f"controller {fields.get('controller')}",
        f"commit {str(fields['commit'])[:12]}" if fields.get("commit") else "",
        message_counts(fields.get("counts")),
    ]
    elements = [_plain_text(fact, _MAX_CONTEXT) for fact in facts if fact]
    blocks.append({"type": "context", "elements": elements})
    return {
        "text": _escape_slack_markup(sentence),
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _plain_text(text: str, max_length: int) -> JsonDocument:
    return {"type": "plain_text", "text": _cut_with_ellipsis(text, max_length), "emoji": False}


def _cut_with_ellipsis(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def _escape_slack_markup(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _quote_slack_url(url: str) -> str:
    """A URL in which nothing ends the link or begins its text."""
    return _escape_slack_markup(quote(url, safe="%/:?=&#@!$'()*+,;[]~-._"))
