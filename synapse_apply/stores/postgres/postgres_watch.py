"""Ends the wait for a database that has stopped to answer, and whose machine has not."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer

import psycopg

from synapse_apply.stores.database import Row

# In seconds: more than a lease, and than the server lets us stand in line for a lock.
MAX_SECONDS = 45.0


@contextmanager
def limit_connection_time(
    connection: psycopg.Connection[Row], max_seconds: float
) -> Iterator[None]:
    """Break the connection when what is done with it takes longer than so many seconds.

    TCP notices a peer that is gone. A server process that stands still answers on that level, and
    the client library would wait for it without end.
    """
    # A descriptor of our own: the library's may be closed, and its number another's by then.
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
