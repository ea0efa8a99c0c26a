"""Receivers of messages for tests: a webhook that keeps what it gets, and Slack's."""

from __future__ import annotations

from typing import Any

from forges.loopback_server import LoopbackServer, Reply, Request


class WebhookSink(LoopbackServer):
    """Takes every message."""

    def reply(self, request: Request) -> Reply:
        """204, as many receivers answer."""
        return 204, b""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The bodies that arrived, also those that were refused on purpose."""
        return [request.json for request in self.requests if request.method == "POST"]


class SlackSink(WebhookSink):
    """An incoming webhook of Slack: checks what Slack checks, and answers in its words."""

    def reply(self, request: Request) -> Reply:
        body = request.json
        if not isinstance(body, dict) or not body.get("text"):
            return 400, b"no_text"
        blocks = body.get("blocks", [])
        if len(blocks) > 50 or not all(map(_is_valid_block, blocks)):
            return 400, b"invalid_blocks"
        return 200, b"ok"


def _is_valid_block(block: dict[str, Any]) -> bool:
    match block:
        case {"type": "section", "text": dict(text)}:
            return _is_valid_text(text)
        case {"type": "context", "elements": list(elements)}:
            return 1 <= len(elements) <= 10 and all(map(_is_valid_text, elements))
    return False


def _is_valid_text(text: dict[str, Any]) -> bool:
    is_known = text.get("type") in {"plain_text", "mrkdwn"}
    return is_known and 1 <= len(text.get("text", "")) <= 3000
