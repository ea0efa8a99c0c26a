"""TLS keeps the same promises: trust, and the total time of a call.

The certificate beside these tests is for localhost, trusts nothing but itself and ends in 2126.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from failing import fails
from waiting import finish

CERTIFICATE, KEY = (Path(__file__).parent / "tls" / name for name in ("cert.pem", "key.pem"))


class Responder(BaseHTTPRequestHandler):
    """An object for every path, dripped for /plugins/slow/."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        slow = "slow" in self.path
        self.send_response(200)
        self.send_header("Content-Length", "1000" if slow else "9")
        self.end_headers()
        try:
            number = self.path.split("/")[2]
            self.wfile.write(b' {"id": 1' if slow else f' {{"id":{number}}}'.encode())
            while slow:
                self.wfile.write(b" ")
                time.sleep(0.02)
        except OSError:
            self.close_connection = True

    def log_message(self, *_arguments: Any) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    with ThreadingHTTPServer(("127.0.0.1", 0), Responder) as listening:
        listening.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield f"https://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def test_a_bundle_makes_a_certificate_trusted(connect, url):
    """Calls go through, on one kept connection."""
    client = connect(url, verify=str(CERTIFICATE))
    assert [client.get_plugin(n) for n in range(3)] == [{"id": n} for n in range(3)]


def test_a_certificate_that_is_not_trusted(connect, url, waits):
    """Nothing was sent, and no repeat would help."""
    with fails("Unreachable", match="certificate is not trusted") as caught:
        connect(url).create_plugin({})
    assert (caught.value.effect.value, waits) == ("none", [])


def test_a_dripping_answer_ends(connect, url):
    """The total time holds inside TLS too."""
    client = connect(url, verify=str(CERTIFICATE), total_timeout=0.3)
    with fails("RemoteTimeout"):
        finish(lambda: client.get_plugin("slow"))


def test_hanging_up_ends_a_dripping_answer(connect, url):
    """What waits inside TLS is woken too."""
    client = connect(url, verify=str(CERTIFICATE))
    threading.Timer(0.3, client.hang_up, ["the run was stopped"]).start()
    with fails("CallEnded", match="the run was stopped"):
        finish(lambda: client.get_plugin("slow"))
