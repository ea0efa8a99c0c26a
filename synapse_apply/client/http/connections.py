"""How connections keep a call's deadline on each read and write, and record whether it was sent.

A socket timeout bounds one read only: a server that sends a byte now and then would hold a call
for ever. So each read and write gets the remaining time of the call as its timeout.
"""

from __future__ import annotations

import http.client
import io
import logging
import socket
import ssl
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import LocationValueError, ProtocolError
from urllib3.util.wait import wait_for_read

from synapse_apply.client.calls import mask_agent_token_in_path
from synapse_apply.client.http.environment import BackendRoute
from synapse_apply.client.http.pacing import Deadline
from synapse_apply.model.frozen import frozen
from synapse_apply.model.redaction import Redactor

# Servers close idle connections, and a POST sent at that moment has an unknown outcome. After this
# many idle seconds a call that must not be repeated gets a new connection.
FRESH_SECONDS = 2.0
BLOCK = 64 * 1024
# The only 1xx that is a final answer (RFC 9110, 15.2.2).
_SWITCHING_PROTOCOLS = http.client.SWITCHING_PROTOCOLS
# Bytes read at once of a compressed body; see `decoded_blocks`.
_COMPRESSED_BLOCK = 8 * 1024


class CutOffError(Exception):
    """No more bytes may be sent; the text is the reason."""


# Bytes behind an answer, or before the first request, end the connection: they would be taken for
# the answer to a create.
class SpokeFirstError(ConnectionError):
    """The server sent bytes on a connection before a request was sent on it."""


class LargeBodyError(Exception):
    """The body of an answer has more bytes than are read."""


class RefusedAddressError(OSError):
    """The connection was opened to an address that is not allowed."""


class Request(NamedTuple):
    """What is sent: the URL is sent exactly as it is; `body` may be a stream."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Any = None


@frozen
class Policy:
    """The bounds of one attempt; times in seconds.

    `connect_timeout`, `read_timeout` and `write_timeout` (else as long as a read) bound one of
    these each. `find_refusal` gives the reason why no more bytes may be sent, "" while they may; it
    gets whether any byte of the attempt has left. `is_logged`: not for a URL that is itself a
    credential. `may_reach` says whether a connection may be to an address; None for all, as to a
    proxy, which the user chooses.
    """

    deadline: Deadline
    connect_timeout: float
    read_timeout: float
    write_timeout: float | None = None
    find_refusal: Callable[[bool], str] = lambda _is_begun: ""
    repeatable: bool = True
    is_logged: bool = False
    may_reach: Callable[[str], bool] | None = None


class Attempt:
    """One attempt of a request while it runs, and whether any byte of it has left."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.sent = False
        self.response: http.client.HTTPResponse | None = None
        self._socket: Any = None

    # The lock is checked here, at the socket: a process can be stopped between two instructions,
    # and after a check before the call alone, a continued process would still send it.
    def mark_sent(self, sock: Any) -> None:
        """Record that bytes are about to leave on this socket; CutOffError if they may not."""
        self._socket = sock  # first, so that a `shut_down` at this moment reaches the socket
        if refusal := self.policy.find_refusal(self.sent):
            raise CutOffError(refusal)
        self.sent = True

    def shut_down(self) -> None:
        """Shut the socket down, which wakes the waiting thread. Safe in a signal handler."""
        raw_socket = getattr(
            self._socket, "socket", self._socket
        )  # TLS inside TLS wraps its socket
        if isinstance(raw_socket, socket.socket):
            with suppress(OSError):
                # Not SSLSocket.shutdown, which drops the TLS session while another thread reads.
                socket.socket.shutdown(raw_socket, socket.SHUT_RDWR)

    def close_response(self) -> None:
        """Close the answer of a failed attempt: one with an unreadable head keeps its socket."""
        if self.response is not None:
            with suppress(OSError, ValueError):
                self.response.close()

    def cap(self, timeout: float) -> float:
        """The seconds that a read or write may take; TimeoutError when there are none left."""
        remaining = min(timeout, self.policy.deadline.remaining())
        if remaining <= 0:
            raise TimeoutError("the call's total time is over")
        return remaining


# A context variable, since urllib3 creates and calls the connections: no argument reaches them.
CURRENT_ATTEMPT: ContextVar[Attempt | None] = ContextVar("current_attempt", default=None)


class _TimedReader(io.RawIOBase):
    """The bytes of a socket; each read has the timeout of the attempt it belongs to."""

    def __init__(self, raw: Any, sock: socket.socket, attempt: Attempt) -> None:
        self._raw = raw
        self._sock = sock
        self._attempt = attempt
        self.is_finished = False  # True after the last byte of the answer

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.is_finished:
            return 0
        self._sock.settimeout(self._attempt.cap(self._attempt.policy.read_timeout))
        count: int | None = self._raw.readinto(buffer)
        return count

    def fileno(self) -> int:
        number: int = self._raw.fileno()
        return number

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _TrailingBytes:
    """Whether the server sent bytes after the end of an answer.

    Shared by the answer, which detects them, and its connection. If the connection referred to the
    answer itself, urllib3's registry of pools would keep both, and the client, alive for ever.
    """

    def __init__(self) -> None:
        self.is_present = False


class _TimedResponse(http.client.HTTPResponse):
    def __init__(
        self,
        sock: socket.socket,
        debuglevel: int = 0,
        method: str | None = None,
        url: str | None = None,
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        attempt = CURRENT_ATTEMPT.get()
        self._reader: _TimedReader | None = None
        self.trailing_bytes = _TrailingBytes()
        if attempt is not None:
            attempt.response = self
            self._reader = _TimedReader(self.fp.detach(), sock, attempt)
            self.fp = io.BufferedReader(self._reader, BLOCK)

    def _read_status(self) -> tuple[str, int, str]:
        """The status line of the final answer; interim ones (103 Early Hints) are skipped."""
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not http.client.CONTINUE < status < http.client.OK or status == _SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)

    def _close_conn(self) -> None:
        """Called by http.client when the answer was read to its end, or is given up."""
        stream: Any = self.fp
        if self._reader is not None and stream is not None and not stream.closed:
            self._reader.is_finished = True
            self.trailing_bytes.is_present = self.trailing_bytes.is_present or bool(stream.peek(1))
        self._reader = None  # breaks the reference from the kept answer to the client
        super()._close_conn()  # type: ignore[misc]


class TimedConnection(HTTPConnection):
    # http.client's global switch prints headers, and with them the token.
    debuglevel = 0
    response_class = _TimedResponse
    _is_connecting = False
    _last_used_at = 0.0
    _trailing_bytes: _TrailingBytes | None = None  # of the answer before
    _holds_head_back = False
    _unsent_head = b""

    def request(
        self, method: str, url: str, body: Any = None, *arguments: Any, **options: Any
    ) -> None:
        """urllib3's, but for a body that is at hand, which leaves with the head in one write."""
        self._holds_head_back, self._unsent_head = isinstance(body, bytes) and bool(body), b""
        super().request(method, url, body, *arguments, **options)

    def connect(self) -> None:
        self._is_connecting = True  # a CONNECT to a proxy is not yet the request
        try:
            super().connect()
        finally:
            self._is_connecting = False

    def _new_conn(self) -> socket.socket:
        """A socket to an allowed address: the name may have another one now (DNS rebinding)."""
        sock = super()._new_conn()
        attempt = CURRENT_ATTEMPT.get()
        may_reach = attempt.policy.may_reach if attempt is not None else None
        if may_reach is not None and not may_reach(str(sock.getpeername()[0])):
            sock.close()
            raise RefusedAddressError
        return sock

    def send(self, data: Any) -> None:
        if not self._is_connecting:
            if self._holds_head_back:
                self._holds_head_back, self._unsent_head = False, data
                return
            if self._unsent_head:
                data, self._unsent_head = self._unsent_head + data, b""
        attempt = CURRENT_ATTEMPT.get()
        if attempt is not None and not self._is_connecting:
            policy = attempt.policy
            if self.sock is None:
                self.connect()
            if not attempt.sent and not policy.repeatable and has_bytes_or_is_closed(self.sock):
                # http.client would take these bytes for the answer to this request.
                self.close()
                raise SpokeFirstError
            self.sock.settimeout(attempt.cap(policy.write_timeout or policy.read_timeout))
            attempt.mark_sent(self.sock)
        super().send(data)

    def getresponse(self) -> Any:
        response = super().getresponse()
        self._last_used_at = time.monotonic()
        self._trailing_bytes = getattr(response._original_response, "trailing_bytes", None)  # noqa: SLF001
        return response

    @property
    def is_connected(self) -> bool:
        attempt = CURRENT_ATTEMPT.get()
        idle_seconds = time.monotonic() - self._last_used_at
        if attempt is not None and not attempt.policy.repeatable and idle_seconds > FRESH_SECONDS:
            return False
        if (self._trailing_bytes and self._trailing_bytes.is_present) or has_bytes_or_is_closed(
            self.sock
        ):
            return False
        return super().is_connected


def has_bytes_or_is_closed(sock: Any) -> bool:
    """Whether an idle connection has bytes to read, or was closed by the server.

    With TLS only decrypted bytes count, since a server may send session tickets at any time. That
    test reads a byte: a connection for which this is true cannot be used any more.
    """
    if not isinstance(sock, socket.socket) or sock.fileno() < 0:
        return False
    if isinstance(sock, ssl.SSLSocket):
        if sock.pending():
            return True
        if not wait_for_read(sock, timeout=0.0):
            return False
        old_timeout = sock.gettimeout()
        sock.settimeout(0.0)
        try:
            sock.recv(1)
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        except OSError:
            return True
        finally:
            sock.settimeout(old_timeout)
        return True
    return bool(wait_for_read(sock, timeout=0.0))


class TimedTlsConnection(TimedConnection, HTTPSConnection):
    pass


class _TimedPool(HTTPConnectionPool):
    ConnectionCls = TimedConnection


class _TimedTlsPool(HTTPSConnectionPool):
    ConnectionCls = TimedTlsConnection


def _use_timed_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _TimedPool, "https": _TimedTlsPool}


@frozen
class _OriginRoute:
    """The pool for an origin; `uses_full_url`: an HTTP proxy needs the full URL as the target."""

    pool: HTTPConnectionPool
    uses_full_url: bool


class TimedAdapter(HTTPAdapter):
    """requests' adapter on timed connections; it never repeats a request by itself."""

    def __init__(self, connections: int, route: BackendRoute) -> None:
        """`connections` is how many are kept open; more may be in use at the same time."""
        self._route = route
        self._routes_by_origin: dict[tuple[str, str], _OriginRoute] = {}
        super().__init__(pool_connections=2, pool_maxsize=connections, max_retries=0)

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        super().close()
        # urllib3 forgets its pools without closing them, so that their connections would stay open
        # until the garbage collector finds them.
        while self._routes_by_origin:
            self._routes_by_origin.popitem()[1].pool.close()

    def open(self, request: Request, attempt: Attempt) -> BaseHTTPResponse:
        """Send one request and return its answer with the body unread; raises as `send` does.

        requests' `send` prepares each request anew and wraps each answer, which takes as long as
        the request itself in urllib3. Only proxies and certificates are left to requests, once
        for each origin.
        """
        policy, url = attempt.policy, request.url
        # urllib3 refuses a timeout of 0. Each read and write sets its own timeout afterwards; this
        # one covers only what happens before.
        left = max(policy.deadline.remaining(), 0.001)
        timeout = Timeout(
            connect=min(policy.connect_timeout, left),
            read=max(min(policy.read_timeout, left), 0.001),
        )
        scheme, host = urlsplit(url)[:2]
        origin_route = self._routes_by_origin.get((scheme, host))
        if origin_route is None:
            origin_route = self._routes_by_origin[scheme, host] = self._build_origin_route(url)
        # Sliced, not put together again: the URL must be sent exactly as it was built.
        path_and_query = url[len(scheme) + len("://") + len(host) :]
        target = path_and_query if path_and_query.startswith("/") else f"/{path_and_query}"
        token = CURRENT_ATTEMPT.set(attempt)
        is_answered = False
        try:
            # No retries, redirects or decoding here: the transport decides on repeats, checks each
            # redirect's origin, and bounds the decompressed size.
            response = origin_route.pool.urlopen(
                request.method,
                url if origin_route.uses_full_url else target,
                request.body,
                request.headers,
                retries=self.max_retries,
                redirect=False,
                assert_same_host=False,
                timeout=timeout,
                preload_content=False,
                decode_content=False,
            )
            is_answered = True
        except LocationValueError as failure:
            raise requests.exceptions.InvalidURL(failure) from None
        except (ProtocolError, OSError) as failure:
            raise requests.ConnectionError(failure) from None
        finally:
            CURRENT_ATTEMPT.reset(token)
            if not is_answered:
                attempt.close_response()
        return response

    def _build_origin_route(self, url: str) -> _OriginRoute:
        request = requests.Request("GET", url).prepare()
        verify_certificate: Any = self.cert_verify
        proxies, verify = dict(self._route.proxies), self._route.verify
        try:
            pool: Any = self.get_connection_with_tls_context(request, verify, proxies=proxies)
        except LocationValueError as failure:
            raise requests.exceptions.InvalidURL(failure) from None
        verify_certificate(pool, request.url, verify, None)
        return _OriginRoute(pool, self.request_url(request, proxies) != request.path_url)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, blocksize=BLOCK, **options)
        _use_timed_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        _use_timed_pools(manager)
        return manager


@contextmanager
def close_on_exit(response: BaseHTTPResponse) -> Iterator[BaseHTTPResponse]:
    """Close the answer on exit; a connection with unread bytes of it is not used again."""
    try:
        yield response
    finally:
        response.close()
        response.release_conn()


def is_encoded_otherwise(
    response: BaseHTTPResponse, accepted: frozenset[str] = frozenset(("identity",))
) -> bool:
    """Whether a body is encoded in a way that was not asked for: it is not decoded then.

    Only one layer of compression is accepted: of several, one block could inflate without bound.
    """
    header = response.headers.get("Content-Encoding", "").lower()
    encodings = [name.strip() for name in header.split(",") if name.strip()]
    return len(encodings) > 1 or not accepted.issuperset(encodings)


def decoded_blocks(response: BaseHTTPResponse, max_bytes: int) -> Iterator[bytes]:
    """The decoded body in blocks; LargeBodyError.

    ChunkedEncodingError, not ConnectionError, if it breaks off.
    """
    total_size = 0
    try:
        # One compressed block may inflate to a thousand times its size before it can be counted.
        size = _COMPRESSED_BLOCK if response.headers.get("Content-Encoding") else BLOCK
        for block in response.stream(size, decode_content=True):
            # Counted whatever Content-Length says: with chunks there is none.
            total_size += len(block)
            if total_size > max_bytes:
                raise LargeBodyError
            yield block
    except ProtocolError as failure:
        raise requests.exceptions.ChunkedEncodingError(failure) from None


# urllib3's loggers are global to the process, so that the redactors of all live clients apply.
_REDACTORS: weakref.WeakSet[Redactor] = weakref.WeakSet()


def mask_in_logs(redactor: Redactor) -> None:
    """Mask the secrets of this redactor in urllib3's log records, as long as the redactor lives."""
    _REDACTORS.add(redactor)


class _SecretsFilter(logging.Filter):
    """Masks secrets and agent tokens in the paths and headers that urllib3 logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        attempt = CURRENT_ATTEMPT.get()
        if attempt is not None and not attempt.policy.is_logged:
            return False
        text = record.getMessage()
        masked = mask_agent_token_in_path(text)
        for redactor in tuple(_REDACTORS):
            masked = str(redactor.mask_secrets_in_text(masked))
        if masked != text:
            record.msg, record.args, record.exc_info = masked, (), None
        return True


for _name in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_SecretsFilter())
# More workers than kept connections only costs a handshake: not a warning for a user.
logging.getLogger("urllib3.connectionpool").addFilter(
    lambda record: not str(record.msg).startswith("Connection pool is full")
)
