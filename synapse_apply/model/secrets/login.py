"""Who is logged in with the vendor's own tools, and where a token may go."""

from __future__ import annotations

from urllib.parse import urlsplit

from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive

LOGIN_FILE_LABEL = "~/.synapse/config.json"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@frozen
class Login:
    """A login as a file keeps it: url, token and tenant belong together.

    `file_label` is the file as it is shown. `no_login_reason` tells why there is no token, "" where
    there is one; `problem` why nothing of it can be used. `is_exposed`: others on this machine can
    read it.
    """

    file_label: str
    url: str = ""
    tenant: str = ""
    token: Sensitive | None = None
    no_login_reason: str = ""
    problem: str = ""
    is_exposed: bool = False


@frozen
class SettingOffer:
    """A place that was looked at for a setting: `reason` it gave nothing, "" where it did.

    `unused`: there is something, which was not taken.
    """

    source: str
    reason: str = ""
    unused: bool = False

    def __str__(self) -> str:
        return f"{self.source} {self.reason}".rstrip()


def parse_url_origin(url: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port of a url, where a token that was kept for it may go; None for none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


def have_same_origin(first_url: str, second_url: str) -> bool:
    """Whether a token for one url may be sent to the other."""
    return parse_url_origin(first_url) is not None and parse_url_origin(
        first_url
    ) == parse_url_origin(second_url)
