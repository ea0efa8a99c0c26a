"""What the demo lays down: its project in three commits, its controller.yaml, and its proxy."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from synapse_apply.model.values import Sensitive

TOKEN_VARIABLE = "DEMO_TOKEN"  # noqa: S105 - its name
KEY_VARIABLE = "SYNAPSE_APPLY_STATE_KEY"
PROXY_VARIABLE, OPERATOR_VARIABLE = "DEMO_PROXY_SECRET", "DEMO_OPERATOR_TOKEN"
TARGETS = ("dev", "staging", "prod")
BENCH = "bench"  # of the second source, which nobody has set up

_PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
manifests: [manifests/]
targets:
{targets}"""
_TARGET = """\
  {name}:
    url: {url}
    token: {{env: DEMO_TOKEN}}
    state: {{url: {states}/{name}.db}}
"""
_PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: image-processing}
spec:
  from: ./plugins/image-processing # name, code and category come from its config.yaml
  version: "1.0.0"
  author: AUTHOR
---
apiVersion: synapse-apply/v1
kind: Release
spec:
  plugin: image-processing
  changelog: Initial release
  source: ./plugins/image-processing
"""
_RESULTS = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: results}
spec:
  name: Results
  provider: file_system
  category: internal
  configuration: {base_path: /data/results}
"""
_BENCH_RESULTS = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: bench-results}
spec:
  name: Results of the bench
  provider: file_system
  category: internal
  configuration: {base_path: /data/bench}
"""
_ARCHIVE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: archive}
spec:
  name: Archive
  provider: file_system
  CATEGORY: internal
  configuration: {base_path: /data/archive}
"""
_PACKAGE = {
    "plugins/image-processing/config.yaml": """\
name: Image Processing Plugin
code: image-processing
version: 1.0.0
category: export
description: Resizes and converts images
package_manager: pip
actions:
  convert: {entrypoint: plugin.convert.run, method: job}
""",
    "plugins/image-processing/plugin/__init__.py": "",
    "plugins/image-processing/plugin/convert.py": "def run() -> int:\n    return 0\n",
}
_CONTROLLER = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {{name: demo}}
sources:
  acme:
    url: {repository}
    poll: 2s
    may_read: {{env: [DEMO_TOKEN, SYNAPSE_APPLY_STATE_KEY], files: [{states}]}}
    hosts: [{hosts}]
    targets:
      dev: {{mode: auto, hosts: ["{dev_host}"]}}
      staging: {{mode: observe}}
      prod: {{mode: approve, hosts: ["{prod_host}"]}}
  lab:
    url: {repository}
    path: lab
    poll: 2s
    may_read: {{env: [DEMO_TOKEN, SYNAPSE_APPLY_STATE_KEY], files: [{states}]}}
    hosts: [{hosts}]
    targets:
      "*": {{mode: observe}}
defaults: {{interval: 5s, retry: {{first: 2s, most: 5s}}}}
listen: 127.0.0.1:{port}
public_url: {page_url}
access:
  proxy:
    user_header: {user_header}
    secret_header: {secret_header}
    secret: {{env: DEMO_PROXY_SECRET}}
  tokens: {{{user}: {{env: DEMO_OPERATOR_TOKEN}}}}
  may:
    - who: ["proxy:{user}", "token:{user}"]
      do: [read, reconcile, pause, approve]
      targets: ["*"]
"""


def build_texts_of_first_commit(urls: Mapping[str, str], states: Path) -> Mapping[str, str]:
    """Texts by path: a plugin, a release and a storage on three targets; in `lab`, one on another.

    `urls` are the backends of the targets, by their names.
    """
    return {
        "synapse-apply.yaml": _format_project({name: urls[name] for name in TARGETS}, states),
        "manifests/plugin.yaml": _PLUGIN.replace("AUTHOR", "Vision team"),
        "manifests/results.yaml": _RESULTS,
        **_PACKAGE,
        "lab/synapse-apply.yaml": _format_project({BENCH: urls[TARGETS[0]]}, states),
        "lab/manifests/results.yaml": _BENCH_RESULTS,
    }


def _format_project(urls: Mapping[str, str], states: Path) -> str:
    targets = "".join(
        _TARGET.format(name=name, url=url, states=states) for name, url in urls.items()
    )
    return _PROJECT.format(targets=targets)


def build_texts_of_broken_commit() -> Mapping[str, str]:
    """Texts by path: a storage with a mistyped field."""
    return {"manifests/archive.yaml": _ARCHIVE.replace("CATEGORY", "categry")}


def build_texts_of_mending_commit() -> Mapping[str, str]:
    """Texts by path: the storage as it was meant, and a new author of the plugin."""
    return {
        "manifests/archive.yaml": _ARCHIVE.replace("CATEGORY", "category"),
        "manifests/plugin.yaml": _PLUGIN.replace("AUTHOR", "Platform team"),
    }


def format_controller_file(
    repository: Path, states: Path, hosts: Sequence[str], port: int, page_url: str
) -> str:
    """The controller.yaml of the demo; `hosts` are those of the backends, as TARGETS, with ports.

    The controller listens at `port`, and people reach it at `page_url`.
    """
    return _CONTROLLER.format(
        repository=repository,
        states=states,
        hosts=", ".join(f'"{host}"' for host in hosts),
        dev_host=hosts[0],
        prod_host=hosts[-1],
        port=port,
        page_url=page_url,
        user=USER,
        user_header=USER_HEADER,
        secret_header=SECRET_HEADER,
    )


# What stands in the demo for a proxy that logs people in: whoever asks it is `proxy:you`.
#
# It listens on loopback alone. Requests with a token of their own get no name from it, as a proxy
# lets programs pass.

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
