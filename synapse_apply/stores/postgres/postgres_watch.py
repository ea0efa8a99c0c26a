"""How long a database that does not answer is waited for, although its machine still does."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Thread

import psycopg

from synapse_apply.stores.database import Row

# Seconds: longer than a lease (30 s) and than the server's lock_timeout (30 s).
MAX_SECONDS = 45.0
_LONGEST_SLEEP = 10.0  # seconds


@contextmanager
def limit_connection_time(
    connection: psycopg.Connection[Row], max_seconds: float
) -> Iterator[None]:
    """Shut the connection down if the block takes longer than `max_seconds`.

    TCP keepalives detect a lost peer. They do not detect a server process that hangs, for which
    libpq would wait for ever.
    """
    # A duplicate descriptor: libpq may close its own, whose number may then be another file's.
    with socket.socket(fileno=os.dup(connection.fileno())) as connection_socket:
        _WATCH.add(connection_socket, time.monotonic() + max_seconds)
        try:
            yield
        finally:
            _WATCH.remove(connection_socket)


class _Watch:
    """Shuts sockets down when their time is over, in one thread: one for each would cost more."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._deadlines: dict[socket.socket, float] = {}
        self._thread: Thread | None = None
        self._wakes_at = 0.0

    def add(self, connection_socket: socket.socket, deadline: float) -> None:
        with self._condition:
            self._deadlines[connection_socket] = deadline
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._run, name="postgres watch", daemon=True)
                self._thread.start()
            elif deadline < self._wakes_at:
                self._condition.notify()

    def remove(self, connection_socket: socket.socket) -> None:
        with self._condition:
            self._deadlines.pop(connection_socket, None)

    def _run(self) -> None:
        with self._condition:
            while True:
                now = time.monotonic()
                for connection_socket, deadline in list(self._deadlines.items()):
                    if deadline <= now:
                        with suppress(OSError):
                            connection_socket.shutdown(socket.SHUT_RDWR)
                        del self._deadlines[connection_socket]
                self._wakes_at = min([now + _LONGEST_SLEEP, *self._deadlines.values()])
                self._condition.wait(self._wakes_at - now)


_WATCH = _Watch()
