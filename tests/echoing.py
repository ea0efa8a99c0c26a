"""A server that answers every request in one odd way, to see what is told of its words."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from listening import Server


@contextmanager
def echoing(handler: type[http.server.BaseHTTPRequestHandler], how: str) -> Iterator[str]:
    """The url of a server whose handler knows `how` it is to answer."""
    kind = type("Echoing", (handler,), {"how": how})
    with Server(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
