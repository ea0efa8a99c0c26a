"""In which language a server is asked to answer."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from synapse_apply.client import BackendClient
from synapse_apply.client.errors import ClientError


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_every_request_asks_for_english(api):
    """The platform answers in Korean otherwise."""
    asked: list[str | None] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Accept-Language"))
            self.send_error(404)

        def log_message(self, *_arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with BackendClient(url, "token", retries=0) as client:
            calls = client if api == "v1" else client.v2
            with pytest.raises(ClientError):
                calls.get_plugin(1)
        thread.join()
    assert asked == ["en"]
