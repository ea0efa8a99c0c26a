"""Which URL a redirect leads to, and what of that URL may be shown."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit


def join_url_or_empty(base: str, location: str) -> str:
    """The absolute URL of a Location header relative to `base`; "" if it is not a URL."""
    try:
        return urljoin(base, location)
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
