"""Credentials that a server quotes: its words are told to people, who must not read them there."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable
from urllib.parse import quote

Mask = Callable[[bytes], bytes]

MASKED = b"(sensitive)"
# What is shorter is no secret; what is shorter than a word is long counts as one only by itself,
# since the server's own words may have it in them.
_SHORTEST = 6
_LONGER_THAN_WORDS = 12


def unmasked(text: bytes) -> bytes:
    """A mask that knows no credentials."""
    return text


def mask_of(secrets: Iterable[str | None]) -> Mask:
    """A mask that takes these out of a text, also as JSON, HTML or a URL write them."""
    forms = {form for secret in secrets if secret for form in _forms(secret)}
    if not forms:
        return unmasked
    # The longest first: one may begin with another.
    pattern = re.compile(b"|".join(map(_found_as, sorted(forms, key=len, reverse=True))))
    return lambda text: pattern.sub(MASKED, text)


def _forms(secret: str) -> Iterable[str]:
    if len(secret) < _SHORTEST:
        return ()
    in_json = json.dumps(secret)[1:-1]
    return secret, in_json, in_json.replace("/", "\\/"), html.escape(secret), quote(secret, safe="")


def _found_as(form: str) -> bytes:
    exact = re.escape(form.encode())
    return exact if len(form) >= _LONGER_THAN_WORDS else rb"(?<!\w)" + exact + rb"(?!\w)"
