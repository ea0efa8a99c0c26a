"""Where a redirect leads, read without trust."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from synapse_apply.client.http.answers import Answer


def resolve_redirect_url(url: str, answer: Answer) -> str:
    """Where a redirect leads; "" when it does not say."""
    location = answer.headers.get("Location", "")
    try:
        return urljoin(url, location) if location else ""
    except ValueError:
        return ""


def extract_origin(url: str) -> str:
    """Scheme and host alone: the rest may quote the request."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""
