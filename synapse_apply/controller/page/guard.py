"""Which requests the page answers at all, how long they may take, and the headers of all answers.

A web site that a reader has open can send requests to this address, by a name of its own that
resolves to loopback, too (DNS rebinding). So the Host must be one of ours. What changes something
is a POST to a path of its own: a webhook, which is signed, and what people ask for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from synapse_apply.controller import verbs
from synapse_apply.model.secrets.secret_rules import is_loopback

HOOK_PREFIX = "/hooks/"
LOGIN_PATH, LOGOUT_PATH, OIDC_PATH = "/login", "/logout", "/login/oidc"
_VERBS = "|".join(verb.name for verb in verbs.OF_TARGETS)
_SHOWN_ROWS_VERBS = "|".join(verb.name for verb in verbs.OF_SHOWN_ROWS)
_ROLLOUT_VERBS = "|".join(verb.name for verb in verbs.OF_ROLLOUTS)
_ACTION_PATH = re.compile(
    rf"(/targets/[^/]+/.+|/api/v1)/({_VERBS})|/approvals/({_SHOWN_ROWS_VERBS})"
    rf"|(/api/v1)?/rollouts/[^/]+/({_ROLLOUT_VERBS})"
)
# Kubernetes asks these by the address of the pod, and they tell nothing.
_PATHS_FOR_ANY_HOST = frozenset({"/healthz", "/readyz"})
_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
PLAIN_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
}
_log = logging.getLogger(__name__)


def listen_host_headers(listen_host: str, port: int) -> frozenset[str]:
    """The Host headers under which the page is reached directly, on the address it listens on."""
    names = [f"[{listen_host}]" if ":" in listen_host else listen_host.lower()]
    if is_loopback(listen_host):
        names += _LOOPBACK_NAMES
    with_ports = {f"{name}:{port}" for name in names}
    return frozenset(with_ports | set(names) if port == _DEFAULT_PORTS["http"] else with_ports)


def public_host_headers(public_url: str) -> frozenset[str]:
    """The Host headers of the address under which people reach the page; none for ""."""
    parts = urlsplit(public_url)
    if not parts.hostname:
        return frozenset()
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    is_default = port == _DEFAULT_PORTS.get(parts.scheme)
    return frozenset({f"{name}:{port}"} | ({name} if is_default else set()))


def list_own_origins(own_hosts: Iterable[str], public_url: str) -> frozenset[str]:
    """The values of `Origin` that pages of ours have; `own_hosts` are reached without TLS."""
    origins = {f"http://{host}" for host in own_hosts}
    # Browsers leave out the port of the scheme.
    public = sorted(public_host_headers(public_url), key=len)[:1]
    return frozenset(origins | {f"{urlsplit(public_url).scheme}://{host}" for host in public})


_OTHER_ADDRESS = "The controller does not serve this address.\n"
_METRICS_ELSEWHERE = (
    "Metrics are available only at the address of `listen`; `open_metrics: true` opens them.\n"
)


class RequestGuard:
    """ASGI middleware: refuses other hosts and methods, adds headers, hides what went wrong."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], hosts_of_metrics: Iterable[str]) -> None:
        """`hosts_of_metrics` may ask for /metrics, "*" any that is an address and no name."""
        self._app = app
        self._hosts = frozenset(hosts)
        self._hosts_of_metrics = frozenset(hosts_of_metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Referrer-Policy", "no-referrer")
                headers.setdefault("Content-Security-Policy", PLAIN_POLICY)
                headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
            await send(message)

        refusal = self._build_refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 - it is answered already
            # Its text may quote anything, and its traceback the values of a request.
            _log.error("a page failed: %s at %s", type(error).__name__, _module_and_line(error))

    def _build_refusal(self, scope: Scope) -> PlainTextResponse | None:
        path, headers = scope["path"], scope["headers"]
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in headers}:
            # A proxy in front may take the other one for the end of the request (RFC 9112, 6.1).
            return PlainTextResponse(
                "The request has conflicting body lengths.\n", 400, {"Connection": "close"}
            )
        if path not in _PATHS_FOR_ANY_HOST:
            values = [value for name, value in headers if name == b"host"]
            host = values[0].decode("latin-1").lower() if len(values) == 1 else ""
            match = _HOST.fullmatch(host)
            allowed = self._hosts_of_metrics if path == "/metrics" else self._hosts
            # No site can make a browser send an address as the Host of one of its own names.
            is_any_address = "*" in allowed and match is not None and _is_ip_address(match[1])
            if match is None or not (host in allowed or is_any_address):
                text = _METRICS_ELSEWHERE if path == "/metrics" else _OTHER_ADDRESS
                status = HTTPStatus.MISDIRECTED_REQUEST if match else HTTPStatus.BAD_REQUEST
                return PlainTextResponse(text, status)
        takes_posts = (
            path == LOGOUT_PATH or path.startswith(HOOK_PREFIX) or _ACTION_PATH.fullmatch(path)
        )
        methods = ["POST"] if takes_posts else ["GET", "HEAD"]
        methods += ["POST"] if path == LOGIN_PATH else []
        if scope["method"] not in methods:
            allow = {"Allow": ", ".join(methods)}
            return PlainTextResponse("This path does not allow this method.\n", 405, allow)
        return None


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _module_and_line(error: BaseException) -> str:
    """Module and line where an exception was raised, without any values."""
    trace = error.__traceback__
    if trace is None:
        return "an unknown place"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"


# How long a client may take to send a request, and who makes room when it is full.
#
# uvicorn waits without end for a request, and for a client that does not read its answer; and it
# answers 503 to all, probes too, while too many connections are open.

REQUEST_SECONDS = 10.0
MAX_CONNECTIONS = 200


class PatientProtocol(H11Protocol):
    """The protocol of uvicorn that ends connections which keep others from being answered.

    One whose request takes too long to come, with its body, is closed. Of more than
    MAX_CONNECTIONS the one that has waited longest is: for a request, or for its client to read
    the answer. `waits_since` is a time of the loop, None while a request is answered.
    """

    _request_timer: asyncio.TimerHandle | None = None
    waits_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.waits_since = self.loop.time()
        self._start_timer()
        if len(self.connections) > MAX_CONNECTIONS:
            # End the connection that has waited longest.
            waiting = [
                (protocol.waits_since, protocol)
                for protocol in self.connections
                if isinstance(protocol, PatientProtocol) and protocol.waits_since is not None
            ]
            # The new connection is among them: it goes where all others are being answered.
            _, oldest = min(waiting, key=lambda entry: entry[0])
            # Else it would be counted, and chosen again, until the loop has told it.
            self.connections.discard(oldest)
            # Not `close`, which waits for a client that does not read.
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # An answer that is under way, or complete with nothing behind it, has timers of uvicorn's.
        if not self._is_request_awaited():
            self.waits_since = None
            self._stop_request_timer()
        else:
            self._start_timer()

    def on_response_complete(self) -> None:
        self.waits_since = self.loop.time()
        # It may begin the next request, where that is there already.
        super().on_response_complete()
        if not self._is_request_awaited():
            self.waits_since = None
        elif not self.cycle.response_complete:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_request_timer()
        super().connection_lost(exc)

    def _is_request_awaited(self) -> bool:
        """Whether a request, or the rest of its body, is still to come."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete or cycle.more_body

    def _start_timer(self) -> None:
        """Close the connection unless a request has come by then; one that runs goes on."""
        if self._request_timer is None:
            self._request_timer = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _stop_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None
