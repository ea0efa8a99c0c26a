"""Who is logged in with the vendor's own tools, and where a token may go."""

from __future__ import annotations

from urllib.parse import urlsplit

from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive

PLACE = "~/.synapse/config.json"
_PORTS = {"http": 80, "https": 443}


@frozen
class Login:
    """A login as a file keeps it: url, token and tenant belong together.

    `place` is the file as it is shown. `lacks` tells why there is no token, "" where there is one;
    `problem` why nothing of it can be used. `exposed`: others on this machine can read it.
    """

    place: str
    url: str = ""
    tenant: str = ""
    token: Sensitive | None = None
    lacks: str = ""
    problem: str = ""
    exposed: bool = False


@frozen
class Offer:
    """A place that was looked at for a setting: `why` it gave nothing, "" where it did.

    `unused`: there is something, which was not taken.
    """

    source: str
    why: str = ""
    unused: bool = False

    def __str__(self) -> str:
        return f"{self.source} {self.why}".rstrip()


def origin(url: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port of a url, where a token that was kept for it may go; None for none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


def same_origin(one: str, other: str) -> bool:
    """Whether a token for one url may be sent to the other."""
    return origin(one) is not None and origin(one) == origin(other)
