"""Which sender is made for a channel."""

from __future__ import annotations

from synapse_apply.controller.messages.slack import SlackMessageSender
from synapse_apply.controller.messages.webhook import WebhookMessageSender
from synapse_apply.controller.ports import MessageSender
from synapse_apply.controller.settings import Channel
from synapse_apply.model.values import Sensitive


def build_message_sender(
    channel: Channel, url: Sensitive, secret: Sensitive | None
) -> MessageSender:
    """The sender for a channel; nothing is sent yet.

    InputError for a URL or a secret that cannot be used.
    """
    if channel.kind == "slack":
        return SlackMessageSender(channel, url)
    return WebhookMessageSender(channel, url, secret)
