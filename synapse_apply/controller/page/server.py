"""How the page is served: uvicorn on a thread of its own, beside the loop."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import uvicorn

from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.page.app import HookSecretValues, PageApp
from synapse_apply.controller.page.guard import (
    PatientProtocol,
    RequestGuard,
    list_own_origins,
    listen_host_headers,
    public_host_headers,
)
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.model.errors import InputError
from synapse_apply.model.secrets.secret_rules import is_loopback

_START_SECONDS = 10.0
_GRACE_SECONDS = 2
_BACKLOG = 128


class PageServer:
    """The page at the address that the settings name; a context manager.

    Inside, `url` is its address, without a slash at its end. InputError where it cannot listen.
    """

    def __init__(
        self,
        store: ControllerStore,
        loop: ControllerLoop,
        hook_secrets: HookSecretValues,
        clock: Callable[[], float] = time.time,
        read_usable_access_secrets: Callable[[], AccessSecrets] = AccessSecrets,
    ) -> None:
        """Nothing is started yet. `clock` gives wall-clock seconds since the epoch.

        `read_usable_access_secrets` gives the secrets of `access` as the configuration in use has
        them; it is called at each request.
        """
        self._app = PageApp(store, loop, hook_secrets, read_usable_access_secrets, clock)
        self._settings = loop.get_settings()

    def __enter__(self) -> Self:
        host = self._settings.listen_host
        # A listening socket, at a free port for port 0. Raises InputError.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening_socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening_socket.bind((host, self._settings.listen_port))
            listening_socket.listen(_BACKLOG)
        except (OSError, OverflowError) as error:
            listening_socket.close()
            reason = getattr(error, "strerror", None) or error
            raise InputError.from_summary(
                "The page cannot listen on its address",
                f"{host}:{self._settings.listen_port}: {reason}.",
                "Set `listen` to another address, or stop the program that uses this address.",
            ) from None
        self._socket = listening_socket
        port = self._socket.getsockname()[1]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        own_hosts = listen_host_headers(self._settings.listen_host, port)
        hosts = own_hosts | public_host_headers(self._settings.public_url)
        if self._settings.open_metrics:
            hosts_of_metrics = hosts | {"*"}
        else:
            # Behind a proxy the page may be public while it listens on loopback.
            hosts_of_metrics = own_hosts if is_loopback(self._settings.listen_host) else frozenset()
        own_origins = list_own_origins(own_hosts, self._settings.public_url)
        configuration = uvicorn.Config(
            RequestGuard(self._app.build(own_origins), hosts, hosts_of_metrics),
            # The other parser that uvicorn may find keeps headers of any size in memory.
            http=PatientProtocol,
            log_config=None,
            # Its warnings are about what strangers send: anybody could fill the log with them.
            log_level="error",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            # So many connections the loop accepts before it answers any of them.
            backlog=_BACKLOG,
        )
        self._server = uvicorn.Server(configuration)
        # Signals are the main thread's, which runs the loop.
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), daemon=True, name="page"
        )
        self._thread.start()
        give_up_at = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > give_up_at:
                self.close()
                raise InputError.from_summary("The page did not start", f"Address: {self.url}")
            time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering; requests that are running get two seconds to end."""
        self._server.should_exit = True
        self._thread.join(_START_SECONDS)
        self._socket.close()
