"""Which storage URLs in a server's answers are fetched, and how.

The server must not choose freely where this machine connects to. None of our headers are sent,
host names are resolved here, and addresses of this machine and of private networks are refused
unless the backend itself is in such a network. The URL is a credential: only its origin is shown.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, BinaryIO, Literal
from urllib.parse import urlsplit

import requests.utils
import urllib3.exceptions
from requests.utils import requote_uri
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Timeout

from synapse_apply.client import failures
from synapse_apply.client.http.connections import (
    Attempt,
    CutOffError,
    TimedAdapter,
    TimedConnection,
    TimedTlsConnection,
    close_response_on_exit,
    in_flight_unlogged,
    iter_decoded_body_blocks,
)
from synapse_apply.client.http.deadlines import (
    Clock,
    Deadline,
    Limits,
    parse_retry_after,
)
from synapse_apply.client.http.environment import BackendRoute
from synapse_apply.client.http.redirects import extract_origin_or_empty, join_url_or_empty
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.secrets.login import is_loopback

MAX_REDIRECTS = 5
_MAX_URL_LENGTH = 16 * 1024
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
# Uncompressed, so that `max_bytes` and Content-Length count the bytes of the file itself.
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "synapse-apply"}
_CONNECTION = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)
Network = Literal["public", "private", "link-local", "loopback"]
_GLOBAL: Network = "public"
_PRIVATE: Network = "private"
_LINK_LOCAL: Network = "link-local"
_LOOPBACK: Network = "loopback"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class FailedFetchError(RemoteError):
    """A file could not be fetched; the text has no URL in it.

    `transient`: the same fetch may succeed later. `retry_after`: seconds the server asks to wait.
    """

    transient: bool = False
    retry_after: float | None = None


class _RefusedAddressError(OSError):
    """The connection was opened to an address that is not allowed."""


# Decides whether a connection may be to an address; None for a connection to a proxy, which is
# chosen by the user. A context variable, since urllib3 creates the connections.
_MAY_REACH: ContextVar[Callable[[str], bool] | None] = ContextVar("may_reach", default=None)


def classify_network_or_private_if_no_address(address: str) -> Network:
    """The kind of network of an IP address; private for anything that is not an address."""
    try:
        # A link-local address has its interface behind a percent sign.
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return _PRIVATE
    # An IPv4 address inside of an IPv6 one (mapped, 6to4, NAT64) is where packets end up.
    if isinstance(ip, ipaddress.IPv6Address):
        embedded_ip = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            embedded_ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded_ip is not None:
            return classify_network_or_private_if_no_address(str(embedded_ip))
    # 0.0.0.0 connects to this machine on Linux.
    if ip.is_loopback or ip.is_unspecified:
        return _LOOPBACK
    if ip.is_link_local:
        return _LINK_LOCAL
    return _GLOBAL if ip.is_global and not ip.is_multicast else _PRIVATE


# A release's `file` is a signed URL that a lying server chooses. So none of our headers are sent,
# redirects are counted, https is needed unless the backend is reached without it, and loopback,
# private and link-local addresses are refused unless the backend is at one of that kind: by
# look-up, and again at the connected socket. `SYNAPSE_APPLY_HOSTS` limits where tokens go and does
# not count here: none is sent.
@frozen
class ReachableNetworks:
    """From where files may be fetched: `networks` are those of the allowed addresses."""

    networks: frozenset[Network]
    allows_http: bool

    @classmethod
    def resolve_public_and_backend_networks(cls, base_url: str) -> ReachableNetworks:
        """Public networks, and those that the backend's own host resolves to."""
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        backend_networks = frozenset(
            map(classify_network_or_private_if_no_address, _resolve_addresses_or_empty_list(host))
        )
        return cls(backend_networks | {_GLOBAL}, parts.scheme == "http" or is_loopback(host))

    def allows_address(self, address: str) -> bool:
        return classify_network_or_private_if_no_address(address) in self.networks

    def resolve_host_and_describe_url_fault_or_empty(self, url: str) -> str:
        """Why a URL must not be fetched, without quoting it; "" if it may. Resolves its host."""
        try:
            parts = urlsplit(url)
            host, _port = parts.hostname or "", parts.port
        except ValueError:
            return "it is not a URL"
        # urlsplit drops line breaks and tabs: what is checked would not be what is sent.
        if len(url) > _MAX_URL_LENGTH or not url.isascii() or not url.isprintable() or " " in url:
            return "it is too long, or has characters that no URL has"
        if parts.scheme not in {"http", "https"} or not host:
            return "it is not a URL of http or https"
        if parts.scheme == "http" and not self.allows_http:
            return "it is not https"
        # It makes a URL look as if it were of another host; no storage signs URLs that way.
        if "@" in parts.netloc:
            return "it has a user name in it"
        refused_addresses = [
            address
            for address in _resolve_addresses_or_empty_list(host)
            if not self.allows_address(address)
        ]
        if refused_addresses:
            network = classify_network_or_private_if_no_address(refused_addresses[0])
            return f"its host is at a {network} address, and the backend is not"
        return ""


def _resolve_addresses_or_empty_list(host: str) -> list[str]:
    """The IP addresses of a host; empty if it cannot be resolved here, as behind a proxy."""
    try:
        results = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(result[4][0]) for result in results]


class _GuardedConnection(TimedConnection):
    """Checks the peer's address: the name may resolve to another one now (DNS rebinding)."""

    def _new_conn(self) -> socket.socket:
        return _require_allowed_peer_or_close(super()._new_conn())


class _GuardedTlsConnection(TimedTlsConnection):
    def _new_conn(self) -> socket.socket:
        return _require_allowed_peer_or_close(super()._new_conn())


def _require_allowed_peer_or_close(sock: socket.socket) -> socket.socket:
    """The socket, if its peer is at an allowed address; else closes it, _RefusedAddressError."""
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
class FetchOptions:
    """How one file is fetched: at most `max_bytes`, until the deadline.

    `find_refusal` gives the reason why nothing may be sent, "" while it may; `now` gives
    wall-clock seconds since the epoch.
    """

    route: BackendRoute
    limits: Limits
    deadline: Deadline
    find_refusal: Callable[[], str]
    max_bytes: int
    now: Clock

    def download_file_once(self, url: str, out: BinaryIO) -> None:
        """Write the file at a URL to `out`, in one attempt.

        FailedFetchError for a connection or storage that failed, else RemoteError.
        """
        reachable = ReachableNetworks.resolve_public_and_backend_networks(self.route.base_url)
        # Some servers give a URL relative to their own.
        url, redirect_count = join_url_or_empty(self.route.base_url, url), 0
        while True:
            if fault := reachable.resolve_host_and_describe_url_fault_or_empty(url):
                subject = (
                    "The server's URL of the file"
                    if not redirect_count
                    else "A redirect of the file"
                )
                raise RemoteError(f"{subject} is not fetched: {fault}")
            next_location = self._download_once(url, out, reachable)
            if not next_location:
                return
            redirect_count += 1
            if redirect_count > MAX_REDIRECTS:
                raise RemoteError(
                    f"the file of {extract_origin_or_empty(url)} is redirected too often"
                )
            url = join_url_or_empty(url, next_location)

    def _download_once(self, url: str, out: BinaryIO, reachable: ReachableNetworks) -> str:
        """Send one request; writes the body and returns "", or returns a redirect's Location."""
        origin, url = extract_origin_or_empty(url), requote_uri(url.partition("#")[0])
        proxies = (
            {} if is_loopback(urlsplit(url).hostname or "") else _read_environment_proxies(url)
        )
        is_direct = not requests.utils.select_proxy(url, proxies)
        # An adapter for this fetch alone: connections in the backend's pool check no address.
        adapter = _GuardedAdapter(1, BackendRoute(self.route.base_url, proxies, self.route.verify))
        attempt = Attempt(
            self.deadline,
            lambda _is_begun: self.find_refusal(),
            write_timeout=self.limits.read_timeout,
            read_timeout=self.limits.read_timeout,
            repeatable=True,
        )
        token = _MAY_REACH.set(reachable.allows_address if is_direct else None)
        try:
            remaining = max(self.deadline.compute_remaining_seconds(), 0.001)
            timeout = Timeout(connect=min(self.limits.connect_timeout, remaining), read=remaining)
            with in_flight_unlogged(attempt):
                response = adapter.send_once_with_body_unread("GET", url, _HEADERS, None, timeout)
                with close_response_on_exit(response):
                    return self._write_body_or_return_redirect(response, origin, out)
        except failures.LIBRARY_ERRORS as caught:
            failure = _build_fetch_error(origin, caught, is_late=self.deadline.is_passed)
        finally:
            attempt.close_response()
            _MAY_REACH.reset(token)
            with suppress(OSError):
                adapter.close()
        # Raised outside of the handler, so that the library's exception, which quotes the URL, is
        # not chained to it.
        raise failure

    def _write_body_or_return_redirect(
        self, response: BaseHTTPResponse, origin: str, out: BinaryIO
    ) -> str:
        status = response.status
        if status in _REDIRECT_STATUSES and (location := response.headers.get("Location")):
            return location
        # Not any 2xx: a 206 would be a part of the file.
        if status != http.client.OK:
            hint = "; its signature may have expired" if status in {400, 401, 403} else ""
            words = f"GET {origin}: the storage answered {status}{hint}"
            failure = FailedFetchError(words, status_code=status)
            failure.transient = status in failures.TRANSIENT_STATUSES
            failure.retry_after = parse_retry_after(response.headers.get("Retry-After"), self.now)
            raise failure
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RemoteError(f"GET {origin}: the file is encoded in a way that was not asked for")
        size_problem = f"GET {origin}: the file has more than {self.max_bytes} bytes"
        length = response.headers.get("Content-Length", "")
        # Twenty digits are enough for any size; int() refuses very long texts (CPython 3.11).
        if length.isdecimal() and int(length[:20]) > self.max_bytes:
            raise RemoteError(size_problem)
        total_size = 0
        # Counted although Content-Length was asked: with chunks there is none.
        for block in iter_decoded_body_blocks(response):
            total_size += len(block)
            if total_size > self.max_bytes:
                raise RemoteError(size_problem)
            try:
                out.write(block)
            except OSError as problem:
                reason = f"the file could not be kept on this machine: {problem.strerror}"
                raise RemoteError(reason) from None
        return ""


def _read_environment_proxies(url: str) -> dict[str, Any]:
    proxies: dict[str, Any] = requests.utils.get_environ_proxies(url, None)
    return proxies


def _build_fetch_error(origin: str, failure: Exception, *, is_late: bool) -> FailedFetchError:
    """The error for an exception of an HTTP library, without that exception's text."""
    chain = _list_causes(failure)
    # By class name: urllib3, ssl and socket have timeout and TLS errors without a common base.
    names = " ".join(type(cause).__name__ for cause in chain)
    may_help = True
    if any(isinstance(cause, _RefusedAddressError) for cause in chain):
        reason = "its host is at an address of a network where the backend is not; nothing was sent"
        may_help = False
    elif any(isinstance(cause, CutOffError) for cause in chain):
        reason, may_help = "it was given up, since this run ends", False
    elif is_late or "Timeout" in names:
        reason, may_help = "the file did not arrive in time", not is_late
    elif "SSL" in names or "Cert" in names:
        reason = "the certificate of the storage is not trusted"
        may_help = "Cert" not in names
    else:
        reason = "the connection failed before the whole file had arrived"
    error = FailedFetchError(f"GET {origin}: {reason}")
    error.transient = may_help and any(isinstance(cause, _CONNECTION) for cause in chain)
    return error


def _list_causes(failure: BaseException) -> list[BaseException]:
    """The exception and its causes, outermost first, at most eight."""
    chain: list[BaseException] = []
    link: BaseException | None = failure
    while link is not None and len(chain) < 8:
        chain.append(link)
        candidates = (getattr(link, "reason", None), link.args[0] if link.args else None)
        nested = next((each for each in candidates if isinstance(each, BaseException)), None)
        link = nested or link.__cause__ or link.__context__
    return chain
