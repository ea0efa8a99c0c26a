"""What is read from an HTTP answer: status, parsed body, request id, Retry-After, all redacted."""

from __future__ import annotations

import http
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import cached_property
from typing import Any

from synapse_apply.client.calls import ClientCall
from synapse_apply.client.http.pacing import parse_http_date, parse_retry_after
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import JsonValue
from synapse_apply.model.json_values import (
    OddJsonError,
    decode_utf8,
    parse_lenient_json,
    parse_strict_json,
)
from synapse_apply.model.lazy_patterns import lazy_pattern
from synapse_apply.model.redaction import Redactor
from synapse_apply.model.remote import HTML_PAGE

# The characters of request ids of common servers and proxies; any other text may be a value of the
# request that the server quotes.
_REQUEST_ID = lazy_pattern(r"[A-Za-z0-9._:-]{1,128}")
_HTML_START = lazy_pattern(r"<(!doctype|html)", re.IGNORECASE)
_HTML_TITLE = lazy_pattern(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_MAX_TEXT_LENGTH = 20_000
# Bytes assumed for each parsed value as a Python object, beside those of its text.
_VALUE_WEIGHT = 40


@frozen
class Answer:
    """Status, headers and body (empty where it was not read or was lost) of the answer to a call.

    `now` gives wall-clock seconds since the epoch, to which a Retry-After date is compared. All
    properties, but not `body` and `headers`, are masked by `redactor`.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    call: ClientCall = ClientCall("GET", "")
    now: Callable[[], float] = lambda: 0.0
    redactor: Redactor = field(default_factory=Redactor)

    # It may hold secrets, which are masked in what is made of it alone.
    __repr__ = object.__repr__

    @property
    def parsed_weight(self) -> int:
        """The memory that the parsed body takes, in bytes, estimated without parsing it."""
        value_count = sum(map(self.body.count, (b",", b"[", b"{")))
        return len(self.body) + _VALUE_WEIGHT * value_count

    @cached_property
    def masked_json_or_none(self) -> JsonValue:
        """The JSON value, masked; None if the body is not JSON (or `null`, which no call gives)."""
        return self._parsed[0]

    @property
    def parse_fault_or_empty(self) -> str:
        """Why the body is not usable JSON; "" if it is."""
        return self._parsed[1]

    @cached_property
    def _parsed(self) -> tuple[Any, str]:
        try:
            text = decode_utf8(self.body)
            value = (parse_lenient_json if self.call.is_display_text else parse_strict_json)(text)
        except OddJsonError as problem:
            return None, str(problem)
        return self.redactor.mask_text_value(value, text), ""

    @property
    def detail(self) -> JsonValue:
        """The parsed error body, else its text, else the reason."""
        if self.masked_json_or_none is not None:
            return self.masked_json_or_none
        return self.html_page_phrase or self.masked_shortened_text or self.registered_status_phrase

    @property
    def html_page_phrase(self) -> str:
        """That the body is an HTML page, with its title where it has one; "" for any other."""
        text = self.masked_shortened_text
        is_html = "html" in self.content_type or _HTML_START.match(text)
        title = _HTML_TITLE.search(text) if is_html and text else None
        title_text = " ".join(title[1].split())[:80] if title else ""
        return HTML_PAGE + (f' "{title_text}"' if title_text else "") if is_html and text else ""

    @property
    def masked_shortened_text(self) -> str:
        text = self.redactor.mask_secrets_in_text(self.body.decode("utf-8", "replace"))
        return str(text[:_MAX_TEXT_LENGTH]).strip()

    @property
    def registered_status_phrase(self) -> str:
        """The registered phrase of the status; the server's own phrase is never shown."""
        try:
            return http.HTTPStatus(self.status).phrase
        except ValueError:
            return "unregistered status"

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "").lower()

    @cached_property
    def request_id(self) -> str | None:
        """X-Request-ID, else `meta.request_id` of the body; None if it may contain a secret."""
        body, candidate = self.masked_json_or_none, self.headers.get("X-Request-ID")
        meta = body.get("meta") if isinstance(body, Mapping) else None
        if not candidate and isinstance(meta, Mapping):
            candidate = meta.get("request_id")
        if not isinstance(candidate, str):
            return None
        if not _REQUEST_ID.fullmatch(candidate) or candidate.encode() in self.call.secret_bytes:
            return None
        # `mask_secrets_in_text` returns the same object if there is nothing to mask.
        return candidate if self.redactor.mask_secrets_in_text(candidate) is candidate else None

    @property
    def retry_after(self) -> float | None:
        """Seconds the server asks to wait."""
        return parse_retry_after(self.headers.get("Retry-After"), self.now)

    @property
    def server_date(self) -> float | None:
        """The Date header in seconds since the epoch; None if there is none or it is a cache's.

        An answer with an Age header comes from a cache (RFC 9111, 5.1): its Date is an older one.
        """
        return None if "Age" in self.headers else parse_http_date(self.headers.get("Date"))
