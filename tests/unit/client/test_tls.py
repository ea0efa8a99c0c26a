"""TLS keeps the same promises: trust, and the total time of a call."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from synapse_apply.client.errors import ClientConnectionError, ClientTimeoutError
from synapse_apply.model.errors import Effect

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")


class Responder(BaseHTTPRequestHandler):
    """An object for every path, dripped for /plugins/slow/."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        slow = "slow" in self.path
        self.send_response(200)
        self.send_header("Content-Length", "1000" if slow else "9")
        self.end_headers()
        try:
            self.wfile.write(b' {"id": 1' if slow else b' {"id":1}')
            while slow:
                self.wfile.write(b" ")
                time.sleep(0.02)
        except OSError:
            self.close_connection = True

    def log_message(self, *_arguments: Any) -> None: ...


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def url(certificate: tuple[Path, Path]) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), Responder) as listening:
        listening.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield f"https://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def test_a_bundle_makes_a_certificate_trusted(connect, url, certificate):
    """Calls go through, on one kept connection."""
    client = connect(url, verify=str(certificate[0]))
    assert [client.get_plugin(n) for n in range(3)] == [{"id": 1}] * 3


def test_a_certificate_that_is_not_trusted(connect, url, waits):
    """Nothing was sent, and no repeat would help."""
    with pytest.raises(ClientConnectionError, match="certificate is not trusted") as caught:
        connect(url).create_plugin({})
    assert (caught.value.effect, waits) == (Effect.NONE, [])


def test_a_dripping_answer_ends(connect, url, certificate):
    """The total time holds inside TLS too."""
    client = connect(url, verify=str(certificate[0]), total_timeout=0.3)
    begun = time.monotonic()
    with pytest.raises(ClientTimeoutError):
        client.get_plugin("slow")
    assert time.monotonic() - begun < 1.5
