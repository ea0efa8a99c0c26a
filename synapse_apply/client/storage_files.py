"""Which storage URLs in a server's answers are fetched, and how.

The server must not choose freely where this machine connects to. None of our headers are sent,
host names are resolved here, and addresses of this machine and of private networks are refused
unless the backend itself is in such a network. The URL is a credential: only its origin is shown.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
from contextlib import suppress
from typing import Any, BinaryIO, Literal
from urllib.parse import urlsplit

import requests.utils
import urllib3.exceptions
from requests.utils import requote_uri
from urllib3 import BaseHTTPResponse

from synapse_apply.client import failures
from synapse_apply.client.http.connections import (
    Attempt,
    CutOffError,
    LargeBodyError,
    Policy,
    RefusedAddressError,
    Request,
    TimedAdapter,
    close_on_exit,
    decoded_blocks,
    is_encoded_otherwise,
)
from synapse_apply.client.http.environment import (
    BackendRoute,
    environment_proxies,
    join_url,
    origin_of,
)
from synapse_apply.client.http.pacing import Clock, parse_retry_after
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.secrets.secret_rules import is_loopback

MAX_REDIRECTS = 5
_MAX_URL_LENGTH = 16 * 1024
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
# Uncompressed, so that `max_bytes` and Content-Length count the bytes of the file itself.
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "synapse-apply"}
_CONNECTION = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)
Network = Literal["public", "private", "link-local", "loopback"]
# RFC 6052 and RFC 8215.
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


class FailedFetchError(RemoteError):
    """A file could not be fetched; the text has no URL in it.

    `transient`: the same fetch may succeed later. `retry_after`: seconds the server asks to wait.
    """

    retry_after: float | None = None


def classify_network_or_private_if_no_address(address: str) -> Network:
    """The kind of network of an IP address; private for anything that is not an address."""
    try:
        # A link-local address has its interface behind a percent sign.
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "private"
    # An IPv4 address inside of an IPv6 one (mapped, 6to4, NAT64) is where packets end up.
    if isinstance(ip, ipaddress.IPv6Address):
        embedded_ip = ip.ipv4_mapped or ip.sixtofour
        # ISATAP (RFC 5214, 6.1) has it behind its mark.
        if any(ip in network for network in _NAT64) or int(ip) >> 32 & 0xFDFFFFFF == 0x5EFE:
            embedded_ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded_ip is not None:
            return classify_network_or_private_if_no_address(str(embedded_ip))
    # 0.0.0.0 connects to this machine on Linux.
    if ip.is_loopback or ip.is_unspecified:
        return "loopback"
    if ip.is_link_local:
        return "link-local"
    # No other range is assigned to the networks of all (IANA, IPv6 address space).
    is_assigned = ip.version == 4 or ip in _GLOBAL_UNICAST
    return "public" if is_assigned and ip.is_global and not ip.is_multicast else "private"


# https is needed unless the backend is reached without it. Addresses are refused by look-up, and
# again at the connected socket. `SYNAPSE_APPLY_HOSTS` limits where tokens go and does not count
# here: none is sent.
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
        networks = {"public", *map(classify_network_or_private_if_no_address, _addresses(host))}
        return cls(frozenset(networks), parts.scheme == "http" or is_loopback(host))

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
            return "it is too long, or has characters that a URL cannot have"
        if parts.scheme not in {"http", "https"} or not host:
            return "it is not a URL of http or https"
        if parts.scheme == "http" and not self.allows_http:
            return "it is not https"
        # It makes a URL look as if it were of another host; no storage signs URLs that way.
        if "@" in parts.netloc:
            return "it contains a user name"
        for address in _addresses(host):
            if not self.allows_address(address):
                network = classify_network_or_private_if_no_address(address)
                return f"its host is at a {network} address, and the backend is not"
        return ""


def _addresses(host: str) -> list[str]:
    """The IP addresses of a host; empty if it cannot be resolved here, as behind a proxy."""
    try:
        results = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(result[4][0]) for result in results]


@frozen
class Download:
    """One file of at most `max_bytes`, which is written to `out`.

    `policy` bounds each of its requests; `now` gives wall-clock seconds since the epoch.
    """

    route: BackendRoute
    policy: Policy
    out: BinaryIO
    max_bytes: int
    now: Clock

    def fetch(self, url: str) -> None:
        """Write the file at a URL to `out`, in one attempt.

        FailedFetchError for a connection or storage that failed, else RemoteError.
        """
        reachable = ReachableNetworks.resolve_public_and_backend_networks(self.route.base_url)
        # Some servers give a URL relative to their own.
        url, redirect_count = join_url(self.route.base_url, url), 0
        while True:
            if fault := reachable.resolve_host_and_describe_url_fault_or_empty(url):
                subject = (
                    "The server's URL of the file"
                    if not redirect_count
                    else "A redirect of the file"
                )
                raise RemoteError(f"{subject} is not fetched: {fault}")
            next_location = self._request(url, reachable)
            if not next_location:
                return
            redirect_count += 1
            if redirect_count > MAX_REDIRECTS:
                raise RemoteError(f"the file of {origin_of(url)} is redirected too often")
            url = join_url(url, next_location)

    def _request(self, url: str, reachable: ReachableNetworks) -> str:
        """Send one request; writes the body and returns "", or returns a redirect's Location."""
        origin, url = origin_of(url), requote_uri(url.partition("#")[0])
        proxies: Any = environment_proxies(url)
        is_direct = not requests.utils.select_proxy(url, proxies)
        # An adapter for this request alone: connections in the backend's pool check no address.
        adapter = TimedAdapter(1, BackendRoute(self.route.base_url, proxies, self.route.verify))
        may_reach = reachable.allows_address if is_direct else None
        attempt = Attempt(replace(self.policy, may_reach=may_reach))
        try:
            with close_on_exit(adapter.open(Request("GET", url, _HEADERS), attempt)) as response:
                return self._write_body(response, origin)
        except failures.LIBRARY_ERRORS as caught:
            failure = _fetch_error(origin, caught, is_late=self.policy.deadline.is_passed)
        finally:
            with suppress(OSError):
                adapter.close()
        # Raised outside of the handler, so that the library's exception, which quotes the URL, is
        # not chained to it.
        raise failure

    def _write_body(self, response: BaseHTTPResponse, origin: str) -> str:
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
        if is_encoded_otherwise(response):
            raise RemoteError(f"GET {origin}: the file has an encoding that was not requested")
        length = response.headers.get("Content-Length", "")
        # Twenty digits are enough for any size; int() refuses very long texts (CPython 3.11).
        is_large = length.isdecimal() and int(length[:20]) > self.max_bytes
        with suppress(LargeBodyError):
            for block in decoded_blocks(response, self.max_bytes) if not is_large else ():
                try:
                    self.out.write(block)
                except OSError as problem:
                    reason = f"the file could not be kept on this machine: {problem.strerror}"
                    raise RemoteError(reason) from None
            if not is_large:
                return ""
        raise RemoteError(f"GET {origin}: the file has more than {self.max_bytes} bytes")


def _fetch_error(origin: str, failure: Exception, *, is_late: bool) -> FailedFetchError:
    """The error for an exception of an HTTP library, without that exception's text."""
    breakage = failures.Breakage(failure, is_late=is_late)
    may_help = True
    if breakage.has(RefusedAddressError):
        reason = "its host is at an address of a network where the backend is not; nothing was sent"
        may_help = False
    elif breakage.has(CutOffError):
        reason, may_help = "the download was stopped, because this run ends", False
    elif breakage.is_timeout:
        reason, may_help = "the file did not arrive in time", not is_late
    elif breakage.is_tls:
        reason = "the certificate of the storage is not trusted"
        may_help = not breakage.is_untrusted
    else:
        reason = "the connection failed before the whole file arrived"
    error = FailedFetchError(f"GET {origin}: {reason}")
    error.transient = may_help and breakage.has(*_CONNECTION)
    return error
