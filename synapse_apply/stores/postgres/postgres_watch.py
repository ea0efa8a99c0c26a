"""How long a database that does not answer is waited for, although its machine still does."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer

import psycopg

from synapse_apply.stores.database import Row

# Seconds: longer than a lease (30 s) and than the server's lock_timeout (30 s).
MAX_SECONDS = 45.0


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
        timer = Timer(max_seconds, _shut_down_socket, (connection_socket,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _shut_down_socket(connection_socket: socket.socket) -> None:
    with suppress(OSError):
        connection_socket.shutdown(socket.SHUT_RDWR)
