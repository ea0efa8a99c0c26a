"""What stands in the demo for a proxy that logs people in: whoever asks it is `proxy:you`.

It listens on loopback alone. Requests with a token of their own get no name from it, as a proxy
lets programs pass.
"""

from __future__ import annotations

import http.client
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from synapse_apply.model.values import Sensitive

USER, USER_HEADER, SECRET_HEADER = "you", "X-Demo-User", "X-Demo-Secret"
_USUAL_PORT = 8080
_SECONDS, _MAX_BODY_SIZE = 30.0, 1 << 20
# Of one connection alone (RFC 9110, 7.6.1), or said by the server that answers.
_OWN_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "date", "server"})
_FORGEABLE_HEADERS = frozenset({USER_HEADER.lower(), SECRET_HEADER.lower()})
_STARTING = b"The controller starts; its page is here in a moment.\n"


class DemoProxy:
    """Passes what it gets to the controller at a port of this machine, in the block."""

    def __init__(self, controller_port: int, secret: Sensitive) -> None:
        """It listens at once, at the usual port or a free one; it answers in the block."""
        self._server = _listen(_handler_class(controller_port, secret))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _listen(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer(("127.0.0.1", _USUAL_PORT), handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), handler)


def _handler_class(controller_port: int, secret: Sensitive) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SECONDS

        def forward_request(self) -> None:
            length = self.headers.get("Content-Length", "0")
            if not length.isdigit() or int(length) > _MAX_BODY_SIZE:
                self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return
            body = self.rfile.read(int(length))
            connection = http.client.HTTPConnection("127.0.0.1", controller_port, timeout=_SECONDS)
            try:
                connection.putrequest(
                    self.command, self.path, skip_host=True, skip_accept_encoding=True
                )
                for name, value in self._forwarded_headers():
                    connection.putheader(name, value)
                connection.endheaders(body)
                self._relay_answer(connection.getresponse())
            except (OSError, http.client.HTTPException, ValueError):
                self.send_response(HTTPStatus.BAD_GATEWAY)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Refresh", "1")
                self.end_headers()
                self.wfile.write(_STARTING)
            finally:
                connection.close()

        def _forwarded_headers(self) -> list[tuple[str, str]]:
            headers = [
                (name, value)
                for name, value in self.headers.items()
                if name.lower() not in _OWN_HEADERS | _FORGEABLE_HEADERS
            ]
            if "Authorization" not in self.headers:
                headers += [(USER_HEADER, USER), (SECRET_HEADER, str(secret.reveal()))]
            return headers

        def _relay_answer(self, answer: http.client.HTTPResponse) -> None:
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _OWN_HEADERS:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_HEAD = do_POST = forward_request  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Nothing: the controller has its own log."""

    return Handler
