"""The logins of the proxies that the environment names, and which hosts no proxy is asked for."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from urllib.parse import unquote, urlsplit

from synapse_apply.model.secrets.secret_rules import PROXY_VARIABLES, is_loopback, spell_host

# A shorter secret counts as a word of its own alone (model/redaction.py).
_LENGTH_OF_RUNS = 8
# A connection to one of these goes to this machine.
_UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104 - nothing listens there


def is_proxy_variable(name: str) -> bool:
    """Whether a variable names a proxy, or the hosts that are reached without one."""
    return fnmatchcase(name.upper(), PROXY_VARIABLES)


def proxy_logins(environ: Mapping[str, str]) -> Iterator[str]:
    """What must be masked in the words of whoever was reached through a proxy of the environment.

    A proxy, and without TLS also the server behind it, may repeat the login that it was sent.
    """
    for name, value in environ.items():
        if is_proxy_variable(name):
            yield from login_texts(value)


def login_texts(url: str) -> Iterator[str]:
    """The spellings of the login in a proxy's URL: as it is written, as it is meant, as it is sent.

    The URL may be malformed: a `/` in a password that is not escaped is an easy mistake.
    """
    _, scheme_end, address = url.partition("://")
    login = (address if scheme_end else url).rpartition("@")[0]
    user, _, password = login.partition(":")
    # Some proxies take a key as the name of the user.
    secret = password or user
    if not secret:
        return
    for written, whole in (
        (secret, login),
        (unquote(secret), f"{unquote(user)}:{unquote(password)}"),
    ):
        yield written
        if len(written) < _LENGTH_OF_RUNS:
            yield whole
        for encoding in ("utf-8", "latin-1"):
            with suppress(UnicodeEncodeError):
                yield base64.b64encode(whole.encode(encoding)).decode()


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
