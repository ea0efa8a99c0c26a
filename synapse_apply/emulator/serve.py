"""How the embedded backend is run: as a program of its own, or on a thread of this one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from synapse_apply.emulator.api import VERSIONS
from synapse_apply.emulator.core import data_folder, listener
from synapse_apply.emulator.core.app import LOOPBACK_NAMES, EmulatorApp
from synapse_apply.emulator.core.backend import (
    MAX_UPLOAD,
    DataSetBackend,
    DataSetClock,
    ServeError,
    ServerSettings,
)
from synapse_apply.emulator.data_set import write_endpoint

_START_SECONDS = 10.0


class EmbeddedServer:
    """A server on a thread of this process, at a free port of 127.0.0.1; a context manager.

    Inside, `url` (without a slash at its end), `data_set` and `token` are valid. Raises
    DataSetError (in use or unusable), UnknownSwitchError, FaultsError, ServeError.
    """

    def __init__(
        self,
        data: Path | str,
        *,
        switches: Mapping[str, str] | None = None,
        profile: str = "",
        token: str | None = None,
        tenant: str = "default",
        tokens: Mapping[str, str] | None = None,
        any_token: bool = False,
        latency: float = 0.0,
        job_seconds: float = 0.2,
        max_upload: int = MAX_UPLOAD,
        faults: Mapping[str, Any] | None = None,
        clock: DataSetClock | None = None,
    ) -> None:
        """Nothing is started yet.

        `tokens` maps further access tokens to tenants. Without any token a random one is made; with
        `any_token` every one is accepted. `latency` is in ms. `switches` are set on top of those of
        `profile`. `faults` is a document of rules (docs/faults.md).
        """
        self._data = Path(data)
        self._settings = ServerSettings(
            tenant, token or "", tokens or {}, any_token, switches or {}, profile, latency,
            job_seconds, max_upload, faults,
        )  # fmt: skip
        self.token = self._settings.token
        self._clock = clock

    def __enter__(self) -> Self:
        # Bound before the data set is opened: a failure to listen then leaves nothing behind.
        self._listening_socket = listener.open_listening_socket("127.0.0.1", 0)
        try:
            self.backend = DataSetBackend(self._data, self._settings, self._clock)
        except BaseException:
            self._listening_socket.close()
            raise
        self.url = listener.build_socket_url(self._listening_socket)
        self.data_set = self.backend.store.data_set
        ready = threading.Event()
        self._server = listener.Listener(EmulatorApp(self.backend, VERSIONS), ready.set)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._listening_socket],), daemon=True, name="embedded"
        )
        self._thread.start()
        # The thread could fail before it signals; then the wait must end.
        if not ready.wait(_START_SECONDS):
            self.close()
            raise ServeError(f"the embedded backend did not start within {_START_SECONDS:g} s")
        # Only now: whoever reads the file may connect at once.
        write_endpoint(self._data, self.url, self.data_set, self.token)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server; running requests get one second to end."""
        # First, so that nobody connects to a server that is stopping.
        data_folder.remove_endpoint(self._data)
        self._server.stop()
        # Not for ever: the thread is a daemon, and ends with the process at the latest.
        self._thread.join(_START_SECONDS)
        self._listening_socket.close()
        self.backend.close()


def serve(
    data: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    settings: ServerSettings | None = None,
) -> None:
    """Serve a data set until SIGINT or SIGTERM; prints `listening on URL` once it answers.

    If its token is random, the file that has it is named on standard error. Raises ServeError,
    DataSetError, UnknownSwitchError, FaultsError.
    """
    data, settings = Path(data), settings or ServerSettings()
    # The random token is in a file of this machine, and `any_token` would let everybody in.
    if host not in listener.LOOPBACK_HOSTS and not settings.tokens:
        raise ServeError(f"other machines can connect to {host}: give a token with --token")
    listening_socket = listener.open_listening_socket(host, port)
    try:
        backend = DataSetBackend(data, settings)
    except BaseException:
        listening_socket.close()
        raise
    url = listener.build_socket_url(listening_socket)

    def announce_endpoint() -> None:
        write_endpoint(data, url, backend.store.data_set, settings.token)
        print(f"listening on {url}", flush=True)  # noqa: T201 - what a caller waits for
        if not settings.tokens and not settings.any_token:
            message = f"the access token is `token` in {data / data_folder.ENDPOINT}"
            print(message, file=sys.stderr, flush=True)  # noqa: T201 - for people

    try:
        app = EmulatorApp(backend, VERSIONS, only_loopback=host in LOOPBACK_NAMES)
        listener.Listener(app, announce_endpoint).run([listening_socket])
    finally:
        data_folder.remove_endpoint(data)
        listening_socket.close()
        backend.close()
