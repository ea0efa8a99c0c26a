"""How a message is posted to a webhook: JSON, an id that stays, and a signature.

Headers and signature are those of Standard Webhooks 1.0.0 (github.com/standard-webhooks), so that
its libraries verify them: HMAC-SHA256 over `id.timestamp.body`. Any 2xx is done; 410 is the way of
a receiver to say that it is no more.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from urllib.parse import quote

from synapse_apply.controller.delivery import (
    Receiver,
    UndeliveredError,
    encode_compact_json,
    read_retry_after,
)
from synapse_apply.controller.messages.message_fields import (
    format_message_sentence,
    format_utc_time,
)
from synapse_apply.controller.ports import SendResult
from synapse_apply.controller.rows import MessageRow
from synapse_apply.controller.settings import MINUTE, Channel
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import Sensitive

# Secrets of this form are base64 behind it, as Standard Webhooks shows them; others are text.
_SECRET_PREFIX = "whsec_"  # noqa: S105 - the form of a secret, and none
_MIN_SECRET_LENGTH = 16


class WebhookMessageSender:
    """A MessageSender for one webhook; its URL is a secret and stands in no text."""

    def __init__(
        self,
        channel: Channel,
        url: Sensitive,
        secret: Sensitive | None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """InputError for a URL or a secret that cannot be used."""
        self._name = f"Webhook {channel.name}"
        named = f"The url of {channel.name}"
        self._receiver = Receiver(self._name, url, what_is_named=named, allow_plain_http=True)
        self._key = _decode_key(secret, channel.name) if secret else None
        self._wall_clock = wall_clock

    def send(self, row: MessageRow) -> SendResult:
        """As MessageSender."""
        body = encode_compact_json(
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
        try:
            answer = self._receiver.send_json_once("POST", "", headers, body)
        except UndeliveredError as failure:
            return failure.result
        if 200 <= answer.status < 300:
            return SendResult()
        retry_after = read_retry_after(answer, self._wall_clock)
        if answer.status == 429 and retry_after is None:
            retry_after = MINUTE
        return self._build_result_of_refusal(answer.status, retry_after)

    def _build_result_of_refusal(self, status: int, retry_after: float | None) -> SendResult:
        if status == 410:
            finding = error_finding(
                "A webhook is no more",
                f"{self._name} answered 410: it takes no messages any more",
                "Take it out of notify, or give it the new url.",
            )
            return SendResult(finding, is_final=True)
        reason = f"{self._name} answered {status}"
        if 300 <= status < 400:
            reason += ", a redirect, which is not followed"
        hint = "It is tried again by itself; check its url in notify, and the log of who receives."
        return SendResult(error_finding("A webhook refuses messages", reason, hint), retry_after)


def _decode_key(secret: Sensitive, channel_name: str) -> Sensitive:
    """The bytes that sign; InputError for a secret that is too short or not in its form."""
    text, problem, key = secret.reveal(), "", b""
    if not isinstance(text, str):
        problem = "is no text"
    elif text.startswith(_SECRET_PREFIX):
        try:
            key = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            problem = f"has no base64 behind {_SECRET_PREFIX}"
    else:
        key = text.encode("utf-8", "surrogatepass")
    if not problem and len(key) < _MIN_SECRET_LENGTH:
        problem = f"has less than {_MIN_SECRET_LENGTH} bytes"
    if problem:
        raise InputError.from_summary(
            "A webhook's secret cannot be used",
            f"The secret of {channel_name} {problem}.",
            "Make one with `openssl rand -base64 32`, and give it to who receives, too.",
        )
    return Sensitive(key)
