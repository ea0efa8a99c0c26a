"""Files that a server names by a URL of a storage: which URLs are fetched, and how.

The server is not trusted with where we connect to. None of our headers go along, names are looked
up here, and addresses of this machine and of private networks are refused unless the backend
itself is there. Such a URL is a credential: nothing but its origin is ever told.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import requests.utils
import urllib3.exceptions
from requests.utils import requote_uri
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Timeout

from synapse_apply.client import failures
from synapse_apply.client.connections import (
    FLIGHT,
    UNLOGGED,
    CutOffError,
    Flight,
    TimedAdapter,
    TimedConnection,
    TimedTlsConnection,
    blocks,
    ending,
)
from synapse_apply.client.deadlines import Clock, Deadline, Limits, retry_after
from synapse_apply.client.redirects import origin_of
from synapse_apply.client.surroundings import Route, is_loopback
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.frozen import frozen

MOST_HOPS = 5
_LONGEST_URL = 16 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "synapse-apply"}
_CONNECTION = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)
_GLOBAL, _PRIVATE, _LINK, _LOOPBACK = "public", "private", "link-local", "loopback"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class FailedFetchError(RemoteError):
    """A file that could not be fetched; in its text is no URL.

    `transient`: the same fetch may succeed later, after `retry_after` seconds where those are told.
    """

    transient: bool = False
    retry_after: float | None = None


class _RefusedAddressError(OSError):
    """A connection that ended at an address where it must not."""


# Whether a connection may be to an address; None where it is to a proxy.
_MAY_REACH: ContextVar[Callable[[str], bool] | None] = ContextVar("may_reach", default=None)


def network_of(address: str) -> str:
    """Which kind of network an address is of: public, private, link-local or loopback."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return _PRIVATE
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return network_of(str(inner))
    if ip.is_loopback or ip.is_unspecified:
        return _LOOPBACK
    if ip.is_link_local:
        return _LINK
    return _GLOBAL if ip.is_global and not ip.is_multicast else _PRIVATE


@frozen
class Reachable:
    """What files may be fetched from: `networks` beside the public ones, and whether by http."""

    networks: frozenset[str]
    allows_http: bool

    @classmethod
    def of_backend(cls, base: str) -> Reachable:
        """As the backend is reached itself."""
        parts = urlsplit(base)
        host = parts.hostname or ""
        near = frozenset(map(network_of, _addresses_of(host)))
        return cls(near | {_GLOBAL}, parts.scheme == "http" or is_loopback(host))

    def has(self, address: str) -> bool:
        return network_of(address) in self.networks

    def fault_of(self, url: str) -> str:
        """Why a URL is not fetched, without quoting it; "" when it may be tried."""
        try:
            parts = urlsplit(url)
            host, _port = parts.hostname or "", parts.port
        except ValueError:
            return "it is no URL"
        if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
            return "it is too long, or has characters that no URL has"
        if parts.scheme not in {"http", "https"} or not host:
            return "it is no URL of http or https"
        if parts.scheme == "http" and not self.allows_http:
            return "it is not https"
        if "@" in parts.netloc:
            return "it has a user name in it"
        refused = [at for at in _addresses_of(host) if not self.has(at)]
        if refused:
            return f"its host is at a {network_of(refused[0])} address, and the backend is not"
        return ""


def _addresses_of(host: str) -> list[str]:
    """What a name stands for here; nothing where it cannot be looked up, as behind a proxy."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(one[4][0]) for one in found]


class _GuardedConnection(TimedConnection):
    """Asks where it ended, since a name may stand for another address by now."""

    def _new_conn(self) -> socket.socket:
        return _check_peer(super()._new_conn())


class _GuardedTlsConnection(TimedTlsConnection):
    def _new_conn(self) -> socket.socket:
        return _check_peer(super()._new_conn())


def _check_peer(sock: socket.socket) -> socket.socket:
    may_reach = _MAY_REACH.get()
    if may_reach is not None and not may_reach(str(sock.getpeername()[0])):
        sock.close()
        raise _RefusedAddressError
    return sock


class _GuardedPool(HTTPConnectionPool):
    ConnectionCls = _GuardedConnection


class _GuardedTlsPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedTlsConnection


class _GuardedAdapter(TimedAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        pools = {"http": _GuardedPool, "https": _GuardedTlsPool}
        self.poolmanager.pool_classes_by_scheme = pools


@frozen
class Fetching:
    """How one file is fetched: at most so many bytes, until the deadline.

    `now` is wall-clock seconds since the epoch.
    """

    route: Route
    limits: Limits
    deadline: Deadline
    refusal: Callable[[], str]
    most: int
    now: Clock

    def fetch(self, url: str, into: BinaryIO) -> None:
        """Write what a URL gives, in one attempt; FailedFetchError, else RemoteError."""
        reachable = Reachable.of_backend(self.route.base)
        url, hops = _join(self.route.base, url), 0
        while True:
            if fault := reachable.fault_of(url):
                what = "The server's URL of the file" if not hops else "A redirect of the file"
                raise RemoteError(f"{what} is not fetched: {fault}")
            place = self._get(url, into, reachable)
            if not place:
                return
            hops += 1
            if hops > MOST_HOPS:
                raise RemoteError(f"the file of {origin_of(url)} is redirected too often")
            url = _join(url, place)

    def _get(self, url: str, into: BinaryIO, reachable: Reachable) -> str:
        """Write the body, or give where a redirect leads."""
        origin, url = origin_of(url), requote_uri(url.partition("#")[0])
        proxies = {} if is_loopback(urlsplit(url).hostname or "") else _proxies_for(url)
        is_direct = not requests.utils.select_proxy(url, proxies)
        adapter = _GuardedAdapter(1, Route(self.route.base, proxies, self.route.verify))
        flight = Flight(
            self.deadline,
            self.refusal,
            writing=self.limits.read,
            reading=self.limits.read,
            repeatable=True,
        )
        tokens = (
            (FLIGHT, FLIGHT.set(flight)),
            (UNLOGGED, UNLOGGED.set(True)),
            (_MAY_REACH, _MAY_REACH.set(reachable.has if is_direct else None)),
        )
        try:
            left = max(self.deadline.remaining(), 0.001)
            timeout = Timeout(connect=min(self.limits.connect, left), read=left)
            with ending(adapter.exchange("GET", url, _HEADERS, None, timeout)) as response:
                return self._save_or_redirect(response, origin, into)
        except failures.LIBRARY_ERRORS as caught:
            failure = _failure_of(origin, caught, late=self.deadline.passed)
        finally:
            flight.give_up()
            for variable, token in tokens:
                variable.reset(token)  # type: ignore[arg-type]
            with suppress(OSError):
                adapter.close()
        # Libraries quote the URL: their own error goes no further.
        raise failure

    def _save_or_redirect(self, response: BaseHTTPResponse, origin: str, into: BinaryIO) -> str:
        status = response.status
        if status in _REDIRECTS and (place := response.headers.get("Location")):
            return place
        if status != http.client.OK:
            hint = "; its signature may have expired" if status in {400, 401, 403} else ""
            words = f"GET {origin}: the storage answered {status}{hint}"
            failure = FailedFetchError(words, status_code=status)
            failure.transient = status in failures.TRANSIENT_STATUSES
            failure.retry_after = retry_after(response.headers.get("Retry-After"), self.now)
            raise failure
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RemoteError(f"GET {origin}: the file is encoded in a way that was not asked for")
        too_large = f"GET {origin}: the file has more than {self.most} bytes"
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length[:20]) > self.most:
            raise RemoteError(too_large)
        size = 0
        for block in blocks(response):
            size += len(block)
            if size > self.most:
                raise RemoteError(too_large)
            try:
                into.write(block)
            except OSError as problem:
                why = f"the file could not be kept on this machine: {problem.strerror}"
                raise RemoteError(why) from None
        return ""


def _join(base: str, place: str) -> str:
    """Where a place leads from a URL; "" for what is no URL."""
    try:
        return urljoin(base, place)
    except ValueError:
        return ""


def _proxies_for(url: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.utils.get_environ_proxies(url, None)
    return found


def _failure_of(origin: str, failure: Exception, *, late: bool) -> FailedFetchError:
    """The error for an exception of a library below, without the library's words."""
    chain = _chain_of(failure)
    words, transient = _words(chain, late=late)
    error = FailedFetchError(f"GET {origin}: {words}")
    error.transient = transient and any(isinstance(cause, _CONNECTION) for cause in chain)
    return error


def _chain_of(failure: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    link: BaseException | None = failure
    while link is not None and len(chain) < 8:
        chain.append(link)
        candidates = (getattr(link, "reason", None), link.args[0] if link.args else None)
        nested = next((each for each in candidates if isinstance(each, BaseException)), None)
        link = nested or link.__cause__ or link.__context__
    return chain


def _words(chain: list[BaseException], *, late: bool) -> tuple[str, bool]:
    """What went wrong, and whether it may be otherwise in a moment."""
    names = " ".join(type(cause).__name__ for cause in chain)
    if any(isinstance(cause, _RefusedAddressError) for cause in chain):
        words = "its host is at an address of a network where the backend is not; nothing was sent"
        return words, False
    if any(isinstance(cause, CutOffError) for cause in chain):
        return "it was given up, since this run ends", False
    if late or "Timeout" in names:
        return "the file did not arrive in time", not late
    if "SSL" in names or "Cert" in names:
        return "the certificate of the storage is not trusted", "Cert" not in names
    return "the connection failed before the whole file had arrived", True
