"""Which URL a redirect leads to, and what of that URL may be shown."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from synapse_apply.client.http.answers import Answer


def resolve_redirect_url_or_empty(url: str, answer: Answer) -> str:
    """The absolute URL in the Location header of an answer to `url`; "" without a usable one."""
    location = answer.headers.get("Location", "")
    try:
        return urljoin(url, location) if location else ""
    except ValueError:
        return ""


def extract_origin_or_empty(url: str) -> str:
    """Scheme, host and port of a URL, "" if it has none: the rest may quote the request."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""
