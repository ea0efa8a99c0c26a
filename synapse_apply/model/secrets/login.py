"""What a login of the vendor's tools holds, and to which URL a token may be sent."""

from __future__ import annotations

import ipaddress
import re
import socket
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive

LOGIN_FILE_LABEL = "~/.synapse/config.json"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"(?!.{254})([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")


@frozen
class Login:
    """The login in a file; url, token and tenant belong together.

    `file_label` is the file's name in messages. `no_login_reason` says why there is no token, ""
    where there is one; `problem` why nothing of it can be used. `is_exposed`: other users of this
    machine can read it.
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
    """A source that was searched for a setting; `reason` says why it gave none, "" if it did.

    `unused`: it has a value, which was not used.
    """

    source: str
    reason: str = ""
    unused: bool = False

    def __str__(self) -> str:
        return f"{self.source} {self.reason}".rstrip()


class UrlOrigin(NamedTuple):
    """Who answers at a URL."""

    scheme: str
    host: str
    port: int | None


def parse_url_origin_or_none(url: str) -> UrlOrigin | None:
    """Scheme, host and port of a URL; None for a URL without a host."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return UrlOrigin(parts.scheme, parts.hostname, port) if parts.hostname else None


def have_same_origin(first_url: str, second_url: str) -> bool:
    """Whether two URLs have the same scheme, host and port.

    Only then may a token for one be sent to the other.
    """
    first_origin = parse_url_origin_or_none(first_url)
    return first_origin is not None and first_origin == parse_url_origin_or_none(second_url)


def spell_host(host: str) -> str:
    """A host of a URL in one spelling for all that reach it; ValueError for what is no host."""
    name = host.lower().removesuffix(".")
    if ":" in name and "%" not in name:
        address = ipaddress.IPv6Address(name)
        return str(address.ipv4_mapped or address)
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("neither a name nor an address")
    with suppress(OSError):
        # As a connection reads it: 127.1, 0x7f.1 and 2130706433 are 127.0.0.1.
        name = socket.inet_ntoa(socket.inet_aton(name))
    return name


def is_loopback(host: str) -> bool:
    """Whether a host is a loopback address, `localhost` or below it (RFC 6761, 6.3)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
