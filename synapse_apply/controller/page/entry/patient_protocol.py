"""How long a client may take to send a request, and who makes room when it is full.

uvicorn waits without end for a request, and for a client that does not read its answer; and it
answers 503 to all, probes too, while too many connections are open.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

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
