"""The HTTP server of tests: one thread a connection, quiet about clients that hang up, and idle."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import weakref
from http.server import ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """A handler thread may outlive its test, and then writes to whatever standard error is by then.

    So a connection that its client closed, which is no mistake of the handler, prints nothing.
    """

    daemon_threads = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._read_end, self._write_end = os.pipe()
        self._close_pipe = weakref.finalize(self, _close_all, self._read_end, self._write_end)
        self._has_begun, self._has_ended = False, threading.Event()
        super().__init__(*arguments, **named)

    def serve_forever(self, poll_interval: float = 0.0) -> None:
        """Until `shutdown`, which wakes it: to look many times a second costs more than to answer."""
        del poll_interval
        self._has_begun = True
        poll = select.poll()
        for one in (self.socket, self._read_end):
            poll.register(one, select.POLLIN)
        own = [(self.socket.fileno(), select.POLLIN)]
        try:
            while poll.poll() == own:  # not once it is closed or is to end
                self._handle_request_noblock()  # type: ignore[attr-defined]
        finally:
            self._has_ended.set()

    def shutdown(self) -> None:
        """End `serve_forever`, which runs or is about to, and wait until it has."""
        if self._close_pipe.alive:
            os.write(self._write_end, b"x")
        self._has_ended.wait()

    def server_close(self) -> None:
        """Close the socket, and what wakes the server unless a thread still looks at it."""
        super().server_close()
        if self._has_ended.is_set() or not self._has_begun:
            self._close_pipe()

    def get_request(self) -> tuple[socket.socket, Any]:
        """A connection on which the body of an answer does not wait until its head is acknowledged.

        On one that is used again the kernel waits 40 ms for that: most of what a test waited.
        """
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _close_all(*numbers: int) -> None:
    for number in numbers:
        os.close(number)
