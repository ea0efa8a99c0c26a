"""The backend of a target, connected: the embedded one, or a client with its credentials."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from synapse_apply.client import BackendClient
from synapse_apply.client.events import RequestEvent
from synapse_apply.client.masking import Redactor
from synapse_apply.client.server_clock import ServerClock
from synapse_apply.client.surroundings import is_loopback
from synapse_apply.manifests.holes import TOKEN
from synapse_apply.model.errors import InputError, SecretUnavailable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import Binding
from synapse_apply.model.values import SecretRef
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.session import state_file
from synapse_apply.session.embedded import Embedded, running
from synapse_apply.session.known_secrets import know_settings
from synapse_apply.session.surroundings import base_url, check_host

LOST = "the lock on the state was lost"
_log = logging.getLogger("synapse_apply.http")


@frozen
class Backend:
    """A connected backend and what its state must be bound to.

    `redactor` masks the secrets it is told of in all that the backend says.
    """

    api: BackendClient
    binding: Binding
    embedded: Embedded | None
    request_id: Callable[[], str]
    longest_call: Callable[[int], float]
    server_clock: ServerClock
    hang_up: Callable[[str], None]
    redactor: Redactor


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
    lost: Callable[[], bool] = lambda: False,
    *,
    looking: bool = False,
) -> Iterator[Backend]:
    """The backend of a target; nothing is sent yet. InputError without url or token.

    `lost` says whether a lock that this run needs is lost. It is asked before any bytes leave:
    a process may be stopped between two instructions, and wake up when another has its place.
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
        with client_of(url, token, target, parallelism, lost=lost) as backend:
            resolve = Resolver(project.root, environ).resolve_setting
            know_settings(backend.redactor, target, resolve)
            yield replace(
                backend,
                binding=state_file.binding_of(base_url(url), target, embedded),
                embedded=embedded,
            )


@contextmanager
def client_of(
    url: str,
    token: str | None,
    target: Target,
    parallelism: int,
    *,
    retries: int = 3,
    lost: Callable[[], bool] = lambda: False,
) -> Iterator[Backend]:
    """A client of the backend at a url; InputError for a url or credentials that cannot be used.

    `lost` as for `connected`.
    """
    last, clock, redactor = LastRequest(), ServerClock(), Redactor()

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
        refusal=lambda: LOST if lost() else "",
        redactor=redactor,
    ) as client:
        yield Backend(
            api=client,
            binding=state_file.binding_of(base_url(url), target, None),
            embedded=None,
            request_id=lambda: last.id,
            longest_call=client.longest_call,
            server_clock=clock,
            hang_up=client.hang_up,
            redactor=redactor,
        )


def url_of(target: Target) -> str:
    """The url of a target that is not embedded; InputError without one."""
    if target.url:
        return target.url
    raise InputError.of(
        "The target has no url",
        f"Target {target.name} has none: {target.looked_for('url')}.",
        "Set targets.NAME.url in the project file, or SYNAPSE_HOST; a login with the vendor's "
        "tools gives one, too.",
        position=target.position,
    )


def token_of(project: Project, target: Target, environ: Mapping[str, str]) -> str | None:
    """The access token of a target; InputError without one, unless none is needed."""
    if target.is_embedded and target.token is None:
        return "embedded"  # it takes any token unless it was started with one of its own
    if target.token is not None:
        return _declared_token(project, target, target.token, environ)
    if is_loopback(urlsplit(target.url).hostname or ""):
        return None
    raise InputError.of(
        "There are no credentials for this target",
        f"Nothing gives a token for {target.url}: {target.looked_for('token')}.",
        f"Set {TOKEN}, or token: {{env: NAME}} of the target in the project file, or log in to "
        "that host with the vendor's tools.",
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
