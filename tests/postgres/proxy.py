"""A connection between a client and a server that breaks, or stands still, at a chosen moment."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Thread

# A simple query (frontend/backend protocol: Query) that ends a transaction.
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class Proxy:
    """Listens at `port` of an address of this machine.

    `break_at` is None, `before` (PostgreSQL's next COMMIT never arrives) or `after` (its answer
    never arrives); then it goes back to None. While `flows` is not set nothing gets through, and
    nothing is lost.
    """

    def __init__(self, port, address="127.0.0.1", at=0):
        """`port` is where the server listens, on loopback; `at` our own, 0 for any."""
        self.break_at = None
        self.flows = Event()
        self.flows.set()
        self.broken = Event()
        self._to = port
        self._listener = socket.create_server((address, at))
        self.port = self._listener.getsockname()[1]
        self._sockets = []
        self._accepting = Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self):
        """Nothing stays open."""
        self.flows.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        # Else a connection that is being accepted would be open after this.
        self._accepting.join()
        self._listener.close()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    # The server is away; it may come back.
                    client.close()
                    continue
                self._sockets += [client, server]
                gate = Event()
                Thread(target=self._up, args=(client, server, gate), daemon=True).start()
                Thread(target=self._down, args=(server, client, gate), daemon=True).start()

    def _up(self, client, server, gate):
        with suppress(OSError):
            while data := client.recv(65536):
                self.flows.wait()
                how = self.break_at if COMMIT in data else None
                if how is not None:
                    self.break_at = None
                    gate.set()
                if how != "before":
                    server.sendall(data)
                if how == "before":
                    break
        self._end(client, server, gate)

    def _down(self, server, client, gate):
        with suppress(OSError):
            while data := server.recv(65536):
                self.flows.wait()
                if gate.is_set():
                    break
                client.sendall(data)
        self._end(client, server, gate)

    def _end(self, client, server, gate):
        for one in (client, server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        if gate.is_set():
            self.broken.set()
