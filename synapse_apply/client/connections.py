"""Connections that keep a call's deadline on every read and write, and know whether it was sent.

A socket timeout bounds one read; a server that drips a byte now and then would hold a call for
ever. So each read and write gets what is left of the call's time.
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
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import (
    BaseHTTPResponse,
    HTTPConnectionPool,
    HTTPSConnectionPool,
    PoolManager,
    Timeout,
)
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import LocationValueError, ProtocolError
from urllib3.util.wait import wait_for_read

from synapse_apply.client.calls import without_agent_token
from synapse_apply.client.deadlines import Deadline
from synapse_apply.client.masking import Redactor
from synapse_apply.client.surroundings import Route
from synapse_apply.model.frozen import frozen

# A server closes connections that idle; a POST on one that it just closed is lost with its fate
# unknown. After this many seconds a call that must not be repeated gets a new connection.
FRESH_SECONDS = 2.0
_BLOCK = 64 * 1024
_SWITCHES = http.client.SWITCHING_PROTOCOLS
_SMALL_BLOCK = 8 * 1024


class CutOffError(Exception):
    """Nothing may leave any more, for the reason in its text."""


class SpokeFirstError(ConnectionError):
    """There are bytes to be read on a connection on which nothing was asked yet."""


class Flight:
    """One attempt on its way: its time, and whether any byte of it has left."""

    def __init__(
        self,
        deadline: Deadline,
        refusal: Callable[[], str],
        *,
        writing: float,
        reading: float,
        repeatable: bool,
    ) -> None:
        """`writing` and `reading` are the longest waits, in seconds, for one write or read.

        `refusal` gives why nothing may leave any more, "" while it may.
        """
        self._deadline = deadline
        self._refusal = refusal
        self._writing = writing
        self._reading = reading
        self._socket: Any = None
        self.repeatable = repeatable
        self.sent = False
        self.response: http.client.HTTPResponse | None = None

    def leave(self, sock: Any) -> None:
        """Bytes are about to leave on this socket; CutOffError where they may not."""
        self._socket = sock  # before the question, so that `cut` misses nothing
        if why := self._refusal():
            raise CutOffError(why)
        self.sent = True

    def cut(self) -> None:
        """Wake whoever waits for the answer; it will not come. Safe in a signal handler."""
        below = getattr(self._socket, "socket", self._socket)  # TLS inside TLS wraps its socket
        if isinstance(below, socket.socket):
            with suppress(OSError):
                # The class's own: that of TLS forgets its session while another thread reads.
                socket.socket.shutdown(below, socket.SHUT_RDWR)

    def give_up(self) -> None:
        """Close an answer that nobody takes: a head that cannot be read holds its socket."""
        if self.response is not None:
            with suppress(OSError, ValueError):
                self.response.close()

    def write_time(self) -> float:
        """Seconds the next write may take; TimeoutError when there are none left."""
        return self._at_most(self._writing)

    def read_time(self) -> float:
        """Seconds the next read may take; TimeoutError when there are none left."""
        return self._at_most(self._reading)

    def _at_most(self, stall: float) -> float:
        left = min(stall, self._deadline.remaining())
        if left <= 0:
            raise TimeoutError("the call's total time is over")
        return left


FLIGHT: ContextVar[Flight | None] = ContextVar("flight", default=None)
# Set while a URL is fetched that is a credential itself: libraries log nothing of it.
UNLOGGED: ContextVar[bool] = ContextVar("unlogged", default=False)


class _TimedReader(io.RawIOBase):
    """The bytes of a socket, each read bounded by the flight it belongs to."""

    def __init__(self, raw: Any, sock: socket.socket, flight: Flight) -> None:
        self._raw = raw
        self._sock = sock
        self._flight = flight
        self.is_over = False  # the answer is: what is read from now on is none of it

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.is_over:
            return 0
        self._sock.settimeout(self._flight.read_time())
        count: int | None = self._raw.readinto(buffer)
        return count

    def fileno(self) -> int:
        number: int = self._raw.fileno()
        return number

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Leftover:
    """Whether bytes came behind an answer: the server says what nobody has asked for.

    Shared by the answer, which finds out, and its connection. A connection that kept the answer
    itself would be kept by urllib3's registry of pools, and with it the client, for ever.
    """

    def __init__(self) -> None:
        self.is_there = False


class _TimedResponse(http.client.HTTPResponse):
    def __init__(
        self,
        sock: socket.socket,
        debuglevel: int = 0,
        method: str | None = None,
        url: str | None = None,
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        flight = FLIGHT.get()
        self._reader: _TimedReader | None = None
        self.leftover = _Leftover()
        if flight is not None:
            flight.response = self
            self._reader = _TimedReader(self.fp.detach(), sock, flight)
            self.fp = io.BufferedReader(self._reader, _BLOCK)

    def _read_status(self) -> tuple[str, int, str]:
        """The final status: what a server says before it (103 Early Hints) is no answer."""
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not http.client.CONTINUE < status < http.client.OK or status == _SWITCHES:
                return version, status, reason
            http.client.parse_headers(self.fp)

    def _close_conn(self) -> None:
        """The answer was read to its end, or is given up."""
        stream: Any = self.fp
        if self._reader is not None and stream is not None and not stream.closed:
            self._reader.is_over = True
            self.leftover.is_there = self.leftover.is_there or bool(stream.peek(1))
        self._reader = None  # the connection keeps this answer, and the reader has the client
        super()._close_conn()  # type: ignore[misc]


class TimedConnection(HTTPConnection):
    # http.client's global switch prints headers, and with them the token.
    debuglevel = 0
    response_class = _TimedResponse
    _connecting = False
    _last_used = 0.0
    _leftover: _Leftover | None = None  # of the answer before

    def connect(self) -> None:
        self._connecting = True  # what a proxy tunnel sends is not the request
        try:
            super().connect()
        finally:
            self._connecting = False

    def send(self, data: Any) -> None:
        flight = FLIGHT.get()
        if flight is not None and not self._connecting:
            if self.sock is None:
                self.connect()
            if not flight.sent and not flight.repeatable and has_unread(self.sock):
                # It would be taken for the answer to what is sent now.
                self.close()
                raise SpokeFirstError
            self.sock.settimeout(flight.write_time())
            flight.leave(self.sock)
        super().send(data)

    def getresponse(self) -> Any:
        response = super().getresponse()
        self._last_used = time.monotonic()
        self._leftover = getattr(response._original_response, "leftover", None)  # noqa: SLF001
        return response

    @property
    def is_connected(self) -> bool:
        flight = FLIGHT.get()
        idle = time.monotonic() - self._last_used
        if flight is not None and not flight.repeatable and idle > FRESH_SECONDS:
            return False
        if (self._leftover and self._leftover.is_there) or has_unread(self.sock):
            return False
        return super().is_connected


def has_unread(sock: Any) -> bool:
    """Whether there is anything to be read on a connection, its end included.

    Of TLS what counts is what was sent inside: a server may send tickets for later sessions. What
    is found is taken out, so that the connection is of no more use.
    """
    if not isinstance(sock, socket.socket) or sock.fileno() < 0:
        return False
    if isinstance(sock, ssl.SSLSocket):
        if sock.pending():
            return True
        if not wait_for_read(sock, timeout=0.0):
            return False
        before = sock.gettimeout()
        sock.settimeout(0.0)
        try:
            sock.recv(1)
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        except OSError:
            return True
        finally:
            sock.settimeout(before)
        return True
    return bool(wait_for_read(sock, timeout=0.0))


class TimedTlsConnection(TimedConnection, HTTPSConnection):
    pass


class _TimedPool(HTTPConnectionPool):
    ConnectionCls = TimedConnection


class _TimedTlsPool(HTTPSConnectionPool):
    ConnectionCls = TimedTlsConnection


def _timed(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _TimedPool, "https": _TimedTlsPool}


@frozen
class _Way:
    """How an origin is reached; `whole`: its proxy is told whole URLs."""

    pool: HTTPConnectionPool
    whole: bool


class TimedAdapter(HTTPAdapter):
    """requests' adapter on timed connections; it never repeats a request by itself."""

    def __init__(self, connections: int, route: Route) -> None:
        """`connections` are kept open at most; more may be in use."""
        self._route = route
        self._ways: dict[tuple[str, str], _Way] = {}
        super().__init__(pool_connections=2, pool_maxsize=connections, max_retries=0)

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, timeout: Timeout
    ) -> BaseHTTPResponse:
        """Send one request and give its answer, the body still to come; as `send` raises.

        `send` prepares each request from scratch and makes an object of each answer, which takes
        as long as urllib3 does for the request. How an origin is reached is requests' knowledge
        (proxies, certificates), and is asked for once.
        """
        scheme, host = urlsplit(url)[:2]
        way = self._ways.get((scheme, host))
        if way is None:
            way = self._ways[scheme, host] = self._way(url)
        rest = url[len(scheme) + len("://") + len(host) :]
        target = rest if rest.startswith("/") else f"/{rest}"
        try:
            return way.pool.urlopen(
                method,
                url if way.whole else target,
                body,
                headers,
                retries=self.max_retries,
                redirect=False,
                assert_same_host=False,
                timeout=timeout,
                preload_content=False,
                decode_content=False,
            )
        except LocationValueError as failure:
            raise requests.exceptions.InvalidURL(failure) from None
        except (ProtocolError, OSError) as failure:
            raise requests.ConnectionError(failure) from None

    def _way(self, url: str) -> _Way:
        request = requests.Request("GET", url).prepare()
        check: Any = self.cert_verify
        proxies, verify = dict(self._route.proxies), self._route.verify
        try:
            pool: Any = self.get_connection_with_tls_context(request, verify, proxies=proxies)
        except LocationValueError as failure:
            raise requests.exceptions.InvalidURL(failure) from None
        check(pool, request.url, verify, None)
        return _Way(pool, self.request_url(request, proxies) != request.path_url)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, blocksize=_BLOCK, **options)
        _timed(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        _timed(manager)
        return manager


@contextmanager
def ending(response: BaseHTTPResponse) -> Iterator[BaseHTTPResponse]:
    """Of an answer that was not read to its end the connection is of no more use."""
    try:
        yield response
    finally:
        response.close()
        response.release_conn()


def blocks(response: BaseHTTPResponse) -> Iterator[bytes]:
    """The body, decoded; what breaks it is no broken connection: the status had come."""
    try:
        # A block may inflate to a thousand times its size before anybody counts it.
        size = _SMALL_BLOCK if response.headers.get("Content-Encoding") else _BLOCK
        yield from response.stream(size, decode_content=True)
    except ProtocolError as failure:
        raise requests.exceptions.ChunkedEncodingError(failure) from None


# Those of the clients that are in use; urllib3's loggers are the process's.
_REDACTORS: weakref.WeakSet[Redactor] = weakref.WeakSet()


def mask_logs_with(redactor: Redactor) -> None:
    """Mask the secrets that it knows in what urllib3 logs, as long as it is in use."""
    _REDACTORS.add(redactor)


class _SecretsFilter(logging.Filter):
    """Masks secrets and agent tokens in the paths and headers that urllib3 logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        if UNLOGGED.get():
            return False
        text = record.getMessage()
        masked = without_agent_token(text)
        for redactor in tuple(_REDACTORS):
            masked = str(redactor.mask_text(masked))
        if masked != text:
            record.msg, record.args, record.exc_info = masked, (), None
        return True


def _quieten() -> None:
    names = ("connection", "connectionpool", "poolmanager", "response", "util.retry")
    for name in names:
        logging.getLogger(f"urllib3.{name}").addFilter(_SecretsFilter())
    # Fewer kept connections than workers costs a handshake, which is no news for a user.
    logging.getLogger("urllib3.connectionpool").addFilter(
        lambda record: not str(record.msg).startswith("Connection pool is full")
    )


_quieten()
