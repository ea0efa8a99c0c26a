"""The HTTP server of tests: one thread a connection, and quiet about clients that hang up."""

from __future__ import annotations

import sys
from http.server import ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """A handler thread may outlive its test, and then writes to whatever standard error is by then.

    So a connection that its client closed, which is no mistake of the handler, prints nothing.
    """

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
