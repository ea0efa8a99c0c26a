"""What one small HTTP request and its answer are, for servers that are not the backend.

The client sends them (client/http/exchange.py); who asks a server about secrets uses these values
alone, and so needs no HTTP library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import field
from enum import Enum
from typing import Protocol

from synapse_apply.model.frozen import frozen


@frozen
class HttpRequest:
    """A request to the server that a sender was made for; `path` begins with '/'.

    Path, headers and body may hold credentials, and are not part of the repr. After an answer of
    `repeated_statuses` the sender sends it again. `max_seconds` shortens the sender's own limit.
    """

    method: str
    path: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    repeated_statuses: frozenset[int] = frozenset()
    max_seconds: float = math.inf


@frozen
class HttpAnswer:
    """A whole answer, of any status; names of `headers` are in lower case.

    Headers and body may hold secrets, and are not part of the repr.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


class HttpFault(Enum):
    """Why there is no whole answer. UNTRUSTED: the TLS connection failed or is not trusted."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    UNTRUSTED = "untrusted"
    BROKEN = "broken"
    TOO_LARGE = "too large"


class HttpExchangeError(Exception):
    """No whole answer arrived; `reason` is a phrase that quotes nothing of request or answer."""

    def __init__(self, fault: HttpFault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason


SendHttpRequest = Callable[[HttpRequest], HttpAnswer]
"""Sends one request and returns its answer; raises HttpExchangeError. Follows no redirect."""


class HttpConnection(Protocol):
    """Connections to one server, made when the first request is sent; safe for many threads."""

    def send_request(self, request: HttpRequest) -> HttpAnswer:
        """As SendHttpRequest."""
        ...

    def close(self) -> None:
        """Close the connections; nothing can be sent afterwards."""
        ...


ConnectHttp = Callable[[str, str], HttpConnection]
"""Makes the HttpConnection to an origin (`https://HOST:PORT`), which trusts the authorities of a
file, "" for the usual ones. Raises SecretUnavailable where no credential may be sent there.
"""
