"""Which hosts no proxy of the environment is asked for."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlsplit

from synapse_apply.model.secrets.secret_rules import is_loopback, spell_host

# A connection to one of these goes to this machine.
_UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104 - nothing listens there


def needs_no_proxy(url: str) -> bool:
    """Whether a URL's host is this machine, however it is spelled.

    A proxy's loopback is another machine's: what is sent there would go astray, with its
    credentials.
    """
    host = ""
    with suppress(ValueError):
        host = urlsplit(url).hostname or ""
        host = spell_host(host)
    return is_loopback(host) or host in _UNSPECIFIED
