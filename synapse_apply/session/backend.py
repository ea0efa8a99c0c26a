"""The backend of a target, connected: the embedded one, or a client with its credentials."""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from synapse_apply.client import BackendClient
from synapse_apply.client.events import RequestEvent
from synapse_apply.client.server_clock import ServerClock
from synapse_apply.model.errors import InputError, SecretUnavailable
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import Binding
from synapse_apply.model.values import SecretRef
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.session import state_file
from synapse_apply.session.embedded import Embedded, running
from synapse_apply.session.surroundings import base_url, check_host

TOKEN_VARIABLE = "SYNAPSE_ACCESS_TOKEN"  # noqa: S105 - a variable's name, not a token
_log = logging.getLogger("synapse_apply.http")


@dataclass(frozen=True, slots=True)
class Backend:
    """A connected backend and what its state must be bound to."""

    api: BackendClient
    binding: Binding
    embedded: Embedded | None
    request_id: Callable[[], str]
    longest_call: Callable[[int], float]
    server_clock: ServerClock


class LastRequest(threading.local):
    """The server's id of this thread's last request."""

    id: str = ""

    def heard(self, event: RequestEvent) -> None:
        self.id = event.request_id or ""
        _log.debug(
            "%s %s -> %s in %.3f s (request id %s, attempt %d)",
            event.method,
            event.path,
            event.status or event.failure,
            event.seconds,
            event.request_id or "none",
            event.attempt,
        )


@contextmanager
def connected(
    project: Project,
    target: Target,
    environ: Mapping[str, str],
    parallelism: int,
    *,
    looking: bool = False,
) -> Iterator[Backend]:
    """The backend of a target; nothing is sent yet. InputError without url or token.

    `looking`: nothing is to be kept, so an embedded backend that has no data yet gets none.
    """
    with ExitStack() as stack:
        embedded = None
        if target.is_embedded:
            embedded = stack.enter_context(running(project.root, looking=looking))
        url = embedded.url if embedded else url_of(target)
        if embedded is None:
            check_host(url, environ)
        token = token_of(project, target, environ)
        with client_of(url, token, target, parallelism) as backend:
            yield replace(
                backend,
                binding=state_file.binding_of(base_url(url), target, embedded),
                embedded=embedded,
            )


@contextmanager
def client_of(
    url: str, token: str | None, target: Target, parallelism: int, *, retries: int = 3
) -> Iterator[Backend]:
    """A client of the backend at a url; InputError for a url or credentials that cannot be used."""
    last, clock = LastRequest(), ServerClock()

    def heard(event: RequestEvent) -> None:
        last.heard(event)
        clock.heard(event)

    with BackendClient(
        url,
        token,
        tenant=target.tenant or None,
        pool_size=max(parallelism, 1),
        retries=retries,
        on_request=heard,
    ) as client:
        binding = state_file.binding_of(base_url(url), target, None)
        yield Backend(client, binding, None, lambda: last.id, client.longest_call, clock)


def url_of(target: Target) -> str:
    """The url of a target that is not embedded; InputError without one."""
    if target.url:
        return target.url
    raise InputError.of(
        "The target has no url",
        f"Target {target.name} names no url and SYNAPSE_HOST is not set.",
        "Set targets.NAME.url in the project file, or SYNAPSE_HOST.",
        position=target.position,
    )


def token_of(project: Project, target: Target, environ: Mapping[str, str]) -> str | None:
    """The access token of a target; InputError without one, unless none is needed."""
    if target.is_embedded and target.token is None:
        return "embedded"  # it takes any token unless it was started with one of its own
    if target.token is not None:
        return _declared_token(project, target, target.token, environ)
    token = environ.get(TOKEN_VARIABLE)
    if token or _is_loopback(target.url):
        return token or None
    raise InputError.of(
        "There are no credentials for this target",
        f"Target {target.name} names no token and {TOKEN_VARIABLE} is not set.",
        f"Set {TOKEN_VARIABLE}, or token: {{env: NAME}} of the target in the project file.",
        position=target.position,
    )


def _declared_token(
    project: Project, target: Target, token: SecretRef, environ: Mapping[str, str]
) -> str:
    try:
        return str(Resolver(project.root, environ).resolve_setting(token).reveal())
    except SecretUnavailable as missing:
        why = "; ".join(one.detail for one in missing.diagnostics)
        raise InputError.of(
            "There are no credentials for this target",
            f"The token of target {target.name} cannot be used: {why}.",
            "Set it, or correct `token:` of the target in the project file.",
            position=target.position,
        ) from None


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
