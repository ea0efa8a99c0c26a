"""How the server listens, signals that it is ready, and stops quickly (uvicorn)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from synapse_apply.emulator.core.backend import ServeError

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
TRANSPORT = "transport"  # the key of a request's connection in its state
_GRACE_SECONDS = 1  # for running requests when the server stops


def open_listening_socket(host: str, port: int) -> socket.socket:
    """Open a listening socket, at a free port for port 0. Raises ServeError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With IPPROTO_TCP given, asyncio disables Nagle's algorithm on accepted connections. Without,
    # an answer of two writes waits 40 ms for an acknowledgement.
    listening_socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # A restart on the same port must not wait for old connections to time out.
    listening_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening_socket.bind((host, port))
        listening_socket.listen(512)
    except (OSError, OverflowError) as error:
        listening_socket.close()
        reason = getattr(error, "strerror", None) or error
        raise ServeError(
            f"cannot listen on {host}:{port}: {reason}; use a different --port (0 picks a free "
            "port)"
        ) from None
    return listening_socket


def build_socket_url(listening_socket: socket.socket) -> str:
    # The real port where 0 was asked for; IPv6 addresses have more items.
    host, port = listening_socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Protocol(HttpToolsProtocol):
    """Stores each request's connection in its state, so that a fault can break it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][TRANSPORT] = self.transport


class Listener(uvicorn.Server):
    """A uvicorn server that calls `on_ready`, stops at once, and ends cleanly on a signal."""

    def __init__(self, app: ASGIApp, on_ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            http=_Protocol,
            log_config=None,
            log_level="warning",
            access_log=False,
            # Nothing is to be set up in the application, and no websocket is served.
            lifespan="off",
            ws="none",
            server_header=False,
            date_header=False,  # DateMiddleware adds it, by a clock that can be moved
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        super().__init__(config)
        self._on_ready = on_ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()

    def stop(self) -> None:
        """Let running requests end, then stop the server; may be called from any thread."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._wake.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def main_loop(self) -> None:
        # uvicorn's own loop checks every 0.1 s whether to stop; this one is woken by `stop`.
        tick = 0
        while not await self.on_tick(tick):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout=1.0)
            # uvicorn counts ticks of 0.1 s; one turn here takes up to ten of them.
            tick = (tick + 10) % 864_000

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        # One turn of the loop for closed connections to go; uvicorn's own shutdown waits 0.1 s.
        await asyncio.sleep(0.001)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        # A request that outlives the grace period is cancelled, and leaves its connection open.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.stop()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Unlike uvicorn's own, does not raise the signal again, which would end the process before
        # `endpoint.json` is removed.
        # Python sets signal handlers in the main thread only.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        previous_handlers = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, action in previous_handlers.items():
                signal.signal(number, action)
