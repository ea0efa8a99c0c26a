"""A proxy before an object store that counts requests, and spoils those that it is told to."""

from __future__ import annotations

import http.client
import time
from collections import Counter
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler
from threading import Event, Thread

from listening import Server

# What a proxy keeps to itself (RFC 9110, 7.6.1).
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"}


class BucketProxy:
    """Listens at `port`.

    `choose(method, path)` says what becomes of a request: None (it passes), `before` (it never
    arrives, and there is no answer), `after` (it arrives, and there is no answer), a number of
    seconds to wait, (status, body) to answer with, or (`hang`, `before` or `after`): it stands
    still at that moment until `flows` is set again, and `reached` is set. Headers in `dropped` do
    not pass.
    """

    def __init__(self, port, dropped=(), turn=None):
        """`port` is where the store listens; with a lock as `turn` it gets one request at a time."""
        self.turn = turn or nullcontext()
        self.choose = lambda _method, _path: None
        self.dropped = {name.lower() for name in dropped}
        self.flows = Event()
        self.flows.set()
        self.reached = Event()
        self.extra_headers = []
        self.requests = []
        self.store_port = port
        self._server = Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.port = self._server.server_address[1]
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def hang_at_link(self, nth, moment):
        """Have the nth link that is put stand still, `before` or `after` it arrives."""
        links = 0

        def choose(method, path):
            nonlocal links
            links += method == "PUT" and "/links/" in path
            return ("hang", moment) if links == nth and method == "PUT" else None

        self.choose = choose

    def count(self):
        """How many requests there were, by method."""
        return Counter(method for method, _ in self.requests)

    def close(self):
        """Nothing stays open."""
        self.flows.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Passes a request on, or does with it what the proxy says."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece, which else waits for an acknowledgement

    def log_message(self, *given):
        """Say nothing."""

    def pass_on(self):
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        proxy.requests.append((self.command, self.path))
        fate = proxy.choose(self.command, self.path)
        if fate == "before":
            self.close_connection = True
            return
        if isinstance(fate, int | float):
            time.sleep(fate)
        hangs = fate[1] if isinstance(fate, tuple) and fate[0] == "hang" else ""
        if hangs == "before":
            self.stand_still()
        if isinstance(fate, tuple) and not hangs:
            headers = [("Content-Type", "application/xml"), *proxy.extra_headers]
            self.answer(fate[0], headers, fate[1])
            return
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in proxy.dropped | _HOP_BY_HOP
        }
        store = http.client.HTTPConnection("127.0.0.1", proxy.store_port, timeout=60)
        try:
            with proxy.turn:
                store.request(self.command, self.path, body, headers)
                response = store.getresponse()
                content = response.read()
        finally:
            store.close()
        if hangs == "after":
            self.stand_still()
        if fate == "after":
            self.close_connection = True
            return
        self.answer(response.status, response.getheaders(), content)

    def stand_still(self):
        proxy = self.server.proxy
        proxy.flows.clear()
        proxy.reached.set()
        proxy.flows.wait()

    def answer(self, status, headers, content):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.pass_on
        raise AttributeError(name)
