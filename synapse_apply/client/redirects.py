"""Where a redirect leads, read without trust."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from synapse_apply.client.answers import Answer


def leads_to(url: str, answer: Answer) -> str:
    """Where a redirect leads; "" when it does not say."""
    place = answer.headers.get("Location", "")
    try:
        return urljoin(url, place) if place else ""
    except ValueError:
        return ""


def origin_of(url: str) -> str:
    """Scheme and host alone: the rest may quote the request."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""
