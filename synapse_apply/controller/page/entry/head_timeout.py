"""How long a browser may take to send the head of a request.

uvicorn waits without end for it, and answers 503 to all while too many connections are open.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_SECONDS = 10.0


class HeadTimeoutProtocol(H11Protocol):
    """The protocol of uvicorn that closes a connection whose request takes too long to begin."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # An answer that is under way, or complete with nothing behind it, has timers of uvicorn's.
        cycle: RequestResponseCycle | None = self.cycle
        is_head_awaited = cycle is None or cycle.response_complete
        if not is_head_awaited:
            self._stop_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
