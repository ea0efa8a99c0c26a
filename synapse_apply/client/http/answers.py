"""An HTTP answer as a value, its body parsed without trust."""

from __future__ import annotations

import http
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from synapse_apply.client.http.deadlines import parse_http_date, parse_retry_after
from synapse_apply.client.http.redaction import Redactor
from synapse_apply.model.coding.server_json import (
    OddJsonError,
    decode_utf8,
    parse_lenient_json,
    parse_strict_json,
)

# What servers and proxies give as ids; anything else may be an echo of what was sent.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MAX_TEXT_LENGTH = 20_000
_VALUE_WEIGHT = 40


@dataclass(frozen=True, repr=False)
class Answer:
    """Status, headers and the whole body (empty when `complete` is False: it was lost).

    `now` is wall-clock seconds since the epoch, against which a Retry-After date is read.
    `secret_bytes` is what of the request may hold a credential: a piece of it that comes back is no
    id. All that is read of the answer, but for `body` and `headers`, has been through `redactor`.
    `is_display_text`: the body is only shown to people.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"")
    complete: bool = True
    now: Callable[[], float] = lambda: 0.0
    secret_bytes: bytes = b""
    redactor: Redactor = field(default_factory=Redactor)
    is_display_text: bool = False

    @property
    def parsed_weight(self) -> int:
        """About what the parsed body takes: its bytes, and an object for each value in it."""
        value_count = sum(map(self.body.count, (b",", b"[", b"{")))
        return len(self.body) + _VALUE_WEIGHT * value_count

    @cached_property
    def parsed(self) -> Any:
        """The JSON value, None when the body is none (or is `null`, which no call answers)."""
        return self._parse_result[0]

    @property
    def parse_fault(self) -> str:
        """Why the body is no JSON that can be used; "" where it is."""
        return self._parse_result[1]

    @cached_property
    def _parse_result(self) -> tuple[Any, str]:
        try:
            text = decode_utf8(self.body)
            value = (parse_lenient_json if self.is_display_text else parse_strict_json)(text)
        except OddJsonError as problem:
            return None, str(problem)
        return self.redactor.mask_parsed_json(value, text), ""

    @property
    def detail(self) -> Any:
        """The parsed error body, else its text, else the reason."""
        if self.parsed is not None:
            return self.parsed
        return self.text or self.reason

    @property
    def text(self) -> str:
        text = self.redactor.mask_text(self.body.decode("utf-8", "replace"))
        return str(text[:_MAX_TEXT_LENGTH]).strip()

    @property
    def reason(self) -> str:
        """The status in words, from the registry: the server's own may hold anything."""
        try:
            return http.HTTPStatus(self.status).phrase
        except ValueError:
            return "unregistered status"

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "").lower()

    @property
    def request_id(self) -> str | None:
        """X-Request-ID, else `meta.request_id` of the body."""
        meta = self.parsed.get("meta") if isinstance(self.parsed, Mapping) else None
        candidate = self.headers.get("X-Request-ID")
        if not candidate and isinstance(meta, Mapping):
            candidate = meta.get("request_id")
        if not isinstance(candidate, str):
            return None
        if not _REQUEST_ID.fullmatch(candidate) or candidate.encode() in self.secret_bytes:
            return None
        return candidate if self.redactor.mask_text(candidate) is candidate else None

    @property
    def retry_after(self) -> float | None:
        """Seconds the server asks to wait."""
        return parse_retry_after(self.headers.get("Retry-After"), self.now)

    @property
    def server_date(self) -> float | None:
        """What the server's clock said, in seconds since the epoch; None where nobody can tell.

        A cache's answer (RFC 9111, 5.1) tells when the server spoke, not when this was sent.
        """
        return None if "Age" in self.headers else parse_http_date(self.headers.get("Date"))
