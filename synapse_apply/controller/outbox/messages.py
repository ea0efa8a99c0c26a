"""What a message says, and how it is posted to a webhook or to Slack."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any
from urllib.parse import quote

from synapse_apply.controller.outbox import delivery
from synapse_apply.controller.ports import MessageSender, SendResult
from synapse_apply.controller.rows import (
    COUNT_WORDS,
    ChangeCounts,
    HoldRow,
    MessageRow,
    PauseRow,
    RolloutRow,
    TargetName,
)
from synapse_apply.controller.rules.access import lead_with_irreversible
from synapse_apply.controller.settings import Channel, Event
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.remote import HttpAnswer
from synapse_apply.model.values import Sensitive
from synapse_apply.views.sanitize import limit_text, sanitize, sanitize_lines


def build_message_sender(
    channel: Channel, url: Sensitive, secret: Sensitive | None
) -> MessageSender:
    """The sender for a channel; nothing is sent yet.

    InputError for a URL or a secret that cannot be used.
    """
    if channel.kind == "slack":
        return SlackMessageSender(channel, url)
    return WebhookMessageSender(channel, url, secret)


class _MessageSender:
    """Posts messages of one channel."""

    def __init__(
        self,
        noun: str,
        channel: Channel,
        url: Sensitive,
        wall_clock: Callable[[], float],
        *,
        allow_plain_http: bool = False,
    ) -> None:
        self._name = f"{noun} {channel.name}"
        named = f"The url of {channel.name}"
        self._receiver = delivery.Receiver(
            self._name, url, what_is_named=named, allow_plain_http=allow_plain_http
        )
        self._wall_clock = wall_clock

    def _post(self, headers: Mapping[str, str], body: bytes) -> SendResult:
        try:
            answer = self._receiver.send_json_once("POST", "", headers, body)
        except delivery.UndeliveredError as failure:
            return failure.result
        if self._is_taken(answer):
            return SendResult()
        retry_after = delivery.read_retry_after(answer, self._wall_clock, answer.status)
        return self._refusal(answer.status, retry_after)

    def _is_taken(self, answer: HttpAnswer) -> bool:
        raise NotImplementedError

    def _refusal(self, status: int, retry_after: float | None) -> SendResult:
        """What is said of a message that was not taken."""
        raise NotImplementedError


# What a message says: its fields, each bounded, and the one sentence that sums it up.
#
# The fields are the body of a webhook (`schemas/v1/controller-message.schema.json`), and what other
# channels are written from.

_MAX_SUMMARY, _MAX_DETAIL, _MAX_HINT, _MAX_POSITION = 300, 2000, 1000, 500
_MAX_ADDRESS = 400
# The page has all of them.
_MAX_HELD_ROWS, _HELD_ROWS_OF_SENTENCE = 20, 3
_COUNTED = {**COUNT_WORDS, "guards": "stopped by guards"}
_WORDS_BY_EVENT = {
    Event.FAILED.value: "{subject} failed",
    Event.RECOVERED.value: "{subject} recovered",
    Event.HELD.value: "{subject} needs attention",
    Event.DRIFT.value: "{subject} has drifted",
    Event.PAUSED.value: "{subject} is paused",
}


def build_message_fields(
    *,
    controller: str,
    source: str,
    target: TargetName | None = None,
    commit: str = "",
    finding: Diagnostic | None = None,
    counts: ChangeCounts | None = None,
    url: str = "",
    holds: Sequence[HoldRow] = (),
    pause: PauseRow | None = None,
    rollout: RolloutRow | None = None,
    failure_count: int = 0,
    is_reminder: bool = False,
) -> dict[str, Any]:
    """The fields of a message: of a target, of a rollout, or of the source where both are None.

    `finding` is the first one of what is told, `url` the page that has all of them. Commands in its
    texts name the target. `holds` are the rows that wait for a person; a `pause` that ends at
    infinity has no end. `failure_count` is how often in a row it has failed, 0 for other events.
    """
    finding = finding and finding.with_target(target.target if target else "")
    return {
        "controller": controller,
        "source": source,
        "target": str(target) if target else None,
        "commit": commit or None,
        "finding": {
            "severity": finding.severity.value,
            "summary": limit_text(finding.summary, _MAX_SUMMARY),
            "detail": limit_text(finding.detail, _MAX_DETAIL),
            "hint": limit_text(finding.hint, _MAX_HINT),
            "address": finding.address,
            "position": limit_text(str(finding.position), _MAX_POSITION)
            if finding.position
            else None,
        }
        if finding
        else None,
        "counts": {
            name: getattr(counts, "import_" if name == "import" else name) for name in _COUNTED
        }
        if counts
        else None,
        "url": url or None,
        "held": {
            "count": len(holds),
            "rows": [
                {
                    "address": limit_text(hold.held_row.row.address, _MAX_ADDRESS),
                    "action": hold.held_row.row.action.value,
                    "summary": limit_text(hold.held_row.row.summary, _MAX_SUMMARY),
                    "reason": hold.held_row.reason.value,
                }
                for hold in lead_with_irreversible(holds)[:_MAX_HELD_ROWS]
            ],
        }
        if holds
        else None,
        "pause": {
            "scope": limit_text(pause.scope, _MAX_ADDRESS),
            "who": limit_text(pause.who, _MAX_ADDRESS),
            "reason": limit_text(pause.reason, _MAX_SUMMARY),
            "until": format_utc_time(pause.until) if isfinite(pause.until) else None,
        }
        if pause
        else None,
        "rollout": {
            "name": rollout.name,
            "state": rollout.state.value,
            "wave": rollout.wave,
            "waves": rollout.wave_count,
        }
        if rollout
        else None,
        "failures": failure_count,
        "reminder": is_reminder,
    }


def format_message_sentence(row: MessageRow) -> str:
    """One sentence for a row: which target, what became of it, and the first reason."""
    fields = row.fields
    pause, rollout = fields.get("pause"), fields.get("rollout")
    subject = str(fields.get("target") or f"source {fields.get('source')}")
    words = _WORDS_BY_EVENT.get(row.event, "{subject}: {event}")
    if row.event == Event.PAUSED.value and pause is None and fields.get("finding"):
        words = "{subject} is rolled back"
    if isinstance(pause, Mapping):
        subject = str(pause.get("scope"))
    elif isinstance(rollout, Mapping):
        subject = f"rollout {rollout.get('name')}"
    sentence = words.format(subject=subject, event=row.event)
    failure_count = fields.get("failures", 0)
    if failure_count > 1:
        sentence += f" {failure_count} times in a row"
    if fields.get("reminder"):
        sentence = f"Reminder: {sentence}"
    finding = fields.get("finding")
    reason = finding.get("summary", "") if isinstance(finding, Mapping) else ""
    if isinstance(pause, Mapping):
        # Who paused, until when and why: `by proxy:ann until 2026-11-27T18:00:00Z, a release`.
        until = f" until {pause['until']}" if pause.get("until") else ""
        reason = f"by {pause.get('who')}{until}" + (
            f", {pause['reason']}" if pause.get("reason") else ""
        )
    reason = reason or message_held_rows(fields.get("held"), _HELD_ROWS_OF_SENTENCE)
    reason = reason or message_counts(fields.get("counts"))
    return f"{sentence}: {reason}" if reason else sentence


def message_counts(counts: object) -> str:
    """The counts of a message that are not 0, such as `1 to add, 2 drifted`; "" for none."""
    if not isinstance(counts, Mapping):
        return ""
    numbers = ((counts.get(name, 0), words) for name, words in _COUNTED.items())
    return ", ".join(f"{number} {words}" for number, words in numbers if number)


def message_held_rows(held_rows: object, max_rows: int) -> str:
    """The rows that wait, such as `2 rows: update plugin/a, delete plugin/b`; "" for none."""
    if not isinstance(held_rows, Mapping):
        return ""
    rows = held_rows.get("rows", [])[:max_rows]
    names = [f"{row.get('action')} {row.get('address')}" for row in rows]
    hidden_count = held_rows.get("count", 0) - len(names)
    if hidden_count > 0:
        names.append(f"{hidden_count} more")
    noun = "row" if held_rows.get("count") == 1 else "rows"
    return f"{held_rows.get('count')} {noun}: {', '.join(names)}"


def format_utc_time(when: float) -> str:
    """A wall-clock time in seconds as RFC 3339 has it, to the second."""
    moment = datetime.fromtimestamp(when, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


# How a message reads in Slack, and how it is posted to an incoming webhook.
#
# Sources: docs.slack.dev, "Sending messages using incoming webhooks", "Formatting message text"
# (what is to be escaped: &, < and >) and "Block Kit" (3,000 characters in a section). Texts that
# came from files and servers are plain text there, in which nothing is markup.

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
    400: "Slack cannot read the message",
    403: "the workspace does not allow this webhook to post",
    404: "the webhook or its channel no longer exists",
    410: "the channel is archived",
}


class SlackMessageSender(_MessageSender):
    """A MessageSender for one incoming webhook of Slack; its URL is a secret."""

    def __init__(
        self, channel: Channel, url: Sensitive, wall_clock: Callable[[], float] = time.time
    ) -> None:
        """InputError for a URL that cannot be used."""
        super().__init__("Slack webhook", channel, url, wall_clock)

    def send(self, row: MessageRow) -> SendResult:
        """As MessageSender."""
        return self._post({}, delivery.encode_compact_json(build_slack_body(row)))

    def _is_taken(self, answer: HttpAnswer) -> bool:
        # A login page or a proxy answers 200, too.
        return answer.status == 200 and answer.body.strip() == b"ok"

    def _refusal(self, status: int, retry_after: float | None) -> SendResult:
        if status in _REASONS_BY_FINAL_STATUS:
            finding = error_finding(
                "Slack refused the message",
                f"{self._name} answered {status}: {_REASONS_BY_FINAL_STATUS[status]}",
                "Create a new incoming webhook for a channel, and set its url in `notify`.",
            )
            return SendResult(finding, is_final=True)
        finding = error_finding(
            "Slack did not accept the message",
            f"{self._name} answered {status}, but that is not Slack's answer to an accepted "
            "message",
            "The controller retries automatically. Check the url in `notify`.",
        )
        return SendResult(finding, retry_after)


def build_slack_body(row: MessageRow) -> JsonDocument:
    """The body of a message: blocks, and a text for notifications."""
    fields = row.fields
    sentence = limit_text(sanitize(format_message_sentence(row)), _MAX_HEADING)
    heading = f"{_ICONS.get(row.event, ':information_source:')} *{_escape_slack_markup(sentence)}*"
    if url := fields.get("url"):
        # Nothing in it ends the link or begins its text.
        quoted = quote(str(url), safe="%/:?=&#@!$'()*+,;[]~-._")
        heading += f" <{_escape_slack_markup(quoted)}|Details>"
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "mrkdwn", "text": heading, "verbatim": True}}
    ]
    finding, held_rows = fields.get("finding") or {}, fields.get("held") or {}
    sections = (
        [str(finding.get(name) or "") for name in ("position", "detail", "hint")],
        [
            f"{row.get('action')} {row.get('address')}: {row.get('summary')}"
            for row in held_rows.get("rows", [])
        ],
    )
    blocks += [
        {"type": "section", "text": _plain_text(text, _MAX_SECTION)}
        for lines in sections
        if (text := "\n".join(_shown(line) for line in lines if line))
    ]
    facts = [
        f"controller {fields.get('controller')}",
        f"commit {str(fields['commit'])[:12]}" if fields.get("commit") else "",
        message_counts(fields.get("counts")),
    ]
    elements = [_plain_text(fact, _MAX_CONTEXT) for fact in facts if fact]
    blocks.append({"type": "context", "elements": elements})
    return {
        "text": _escape_slack_markup(sentence),
        "mrkdwn": False,
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _shown(text: str) -> str:
    """A text without invisible characters, whose further lines pass for none of ours."""
    return "\n  ".join(sanitize_lines(text))


def _plain_text(text: str, max_length: int) -> JsonDocument:
    return {"type": "plain_text", "text": limit_text(text, max_length), "emoji": False}


def _escape_slack_markup(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# How a message is posted to a webhook: JSON, an id that stays, and a signature.
#
# Headers and signature are those of Standard Webhooks 1.0.0 (github.com/standard-webhooks), so that
# its libraries verify them: HMAC-SHA256 over `id.timestamp.body`. Any 2xx is done; 410 is the way
# of a receiver to say that it is no more.

# Secrets of this form are base64 behind it, as Standard Webhooks shows them; others are text.
_SECRET_PREFIX = "whsec_"  # noqa: S105 - the form of a secret, and none
_MIN_SECRET_LENGTH = 16


class WebhookMessageSender(_MessageSender):
    """A MessageSender for one webhook; its URL is a secret and stands in no text."""

    def __init__(
        self,
        channel: Channel,
        url: Sensitive,
        secret: Sensitive | None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """InputError for a URL or a secret that cannot be used."""
        super().__init__("Webhook", channel, url, wall_clock, allow_plain_http=True)
        self._key = _decode_key(secret, channel.name) if secret else None

    def send(self, row: MessageRow) -> SendResult:
        """As MessageSender."""
        body = delivery.encode_compact_json(
            {
                "apiVersion": "synapse-apply/v1",
                "kind": "ControllerMessage",
                "id": row.id,
                "event": row.event,
                "time": format_utc_time(row.created_at),
                "summary": format_message_sentence(row),
                **row.fields,
            }
        )
        # A dot in the id would make it unclear where the timestamp begins.
        message_id = quote(row.id, safe="").replace(".", "%2E")
        timestamp = str(int(self._wall_clock()))
        headers = {"webhook-id": message_id, "webhook-timestamp": timestamp}
        if self._key is not None:
            signed = f"{message_id}.{timestamp}.".encode() + body
            digest = hmac.new(self._key.reveal(), signed, hashlib.sha256).digest()
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        return self._post(headers, body)

    def _is_taken(self, answer: HttpAnswer) -> bool:
        return 200 <= answer.status < 300

    def _refusal(self, status: int, retry_after: float | None) -> SendResult:
        if status == 410:
            finding = error_finding(
                "The webhook no longer exists",
                f"{self._name} answered 410: it no longer accepts messages",
                "Remove it from `notify`, or set its new url.",
            )
            return SendResult(finding, is_final=True)
        redirect = (
            ", a redirect, which the controller does not follow" if 300 <= status < 400 else ""
        )
        finding = error_finding(
            "The webhook refuses messages",
            f"{self._name} answered {status}{redirect}",
            "The controller retries automatically. Check the url in `notify`, and the log of the "
            "receiver.",
        )
        return SendResult(finding, retry_after)


def _decode_key(secret: Sensitive, channel_name: str) -> Sensitive:
    """The bytes that sign; InputError for a secret that is too short or not in its form."""
    text, problem, key = secret.reveal(), "", b""
    if not isinstance(text, str):
        problem = "is not text"
    elif text.startswith(_SECRET_PREFIX):
        try:
            key = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            problem = f"has no base64 after {_SECRET_PREFIX}"
    else:
        key = text.encode("utf-8", "surrogatepass")
    if not problem and len(key) < _MIN_SECRET_LENGTH:
        problem = f"has fewer than {_MIN_SECRET_LENGTH} bytes"
    if problem:
        raise InputError.from_summary(
            "Invalid webhook secret",
            f"The secret of {channel_name} {problem}.",
            "Generate a secret with `openssl rand -base64 32`, and set it in the receiver, too.",
        )
    return Sensitive(key)
