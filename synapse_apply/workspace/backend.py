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
from synapse_apply.client.http.environment import is_loopback
from synapse_apply.client.http.redaction import Redactor
from synapse_apply.client.http.server_clock import ServerClock
from synapse_apply.manifests.project.credentials import TOKEN_VARIABLE
from synapse_apply.model.errors import InputError, SecretUnavailable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import StateIdentity
from synapse_apply.model.values import SecretRef
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.workspace import state_access
from synapse_apply.workspace.embedded import EmbeddedBackend, open_embedded_backend
from synapse_apply.workspace.environment import normalize_base_url, require_allowed_host
from synapse_apply.workspace.known_secrets import register_setting_secrets

LOCK_LOST_REASON = "the lock on the state was lost"
_log = logging.getLogger("synapse_apply.http")


@frozen
class ConnectedBackend:
    """A connected backend and what its state must be bound to.

    `redactor` masks the secrets it is told of in all that the backend says.
    """

    api: BackendClient
    state_identity: StateIdentity
    embedded: EmbeddedBackend | None
    request_id: Callable[[], str]
    longest_call: Callable[[int], float]
    server_clock: ServerClock
    hang_up: Callable[[str], None]
    redactor: Redactor


class LastRequest(threading.local):
    """The server's id of this thread's last request."""

    id: str = ""

    def record_event(self, event: RequestEvent) -> None:
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
def connect_backend(
    project: Project,
    target: Target,
    environ: Mapping[str, str],
    parallelism: int,
    is_lock_lost: Callable[[], bool] = lambda: False,
    *,
    read_only: bool = False,
) -> Iterator[ConnectedBackend]:
    """The backend of a target; nothing is sent yet. InputError without url or token.

    `is_lock_lost` says whether a lock that this run needs is lost. It is asked before any bytes
    leave: a process may be stopped between two instructions, and wake up when another has its
    place. `read_only`: nothing is to be kept, so an embedded backend that has no data yet gets
    none.
    """
    with ExitStack() as stack:
        embedded = None
        if target.is_embedded:
            embedded = stack.enter_context(open_embedded_backend(project.root, read_only=read_only))
        url = embedded.url if embedded else require_target_url(target)
        if embedded is None:
            require_allowed_host(url, environ)
        token = (
            embedded.token.reveal() if embedded else resolve_target_token(project, target, environ)
        )
        with open_client(url, token, target, parallelism, is_lock_lost=is_lock_lost) as backend:
            resolve = Resolver(project.root, environ).resolve_setting
            register_setting_secrets(backend.redactor, target, resolve)
            yield replace(
                backend,
                state_identity=state_access.build_state_identity(
                    normalize_base_url(url), target, embedded
                ),
                embedded=embedded,
            )


@contextmanager
def open_client(
    url: str,
    token: str | None,
    target: Target,
    parallelism: int,
    *,
    retries: int = 3,
    is_lock_lost: Callable[[], bool] = lambda: False,
) -> Iterator[ConnectedBackend]:
    """A client of the backend at a url; InputError for a url or credentials that cannot be used.

    `is_lock_lost` as for `connect_backend`.
    """
    last_request, clock, redactor = LastRequest(), ServerClock(), Redactor()

    def on_request_event(event: RequestEvent) -> None:
        last_request.record_event(event)
        clock.record_event(event)

    with BackendClient(
        url,
        token,
        tenant=target.tenant or None,
        pool_size=max(parallelism, 1),
        retries=retries,
        on_request=on_request_event,
        refusal=lambda: LOCK_LOST_REASON if is_lock_lost() else "",
        redactor=redactor,
    ) as client:
        yield ConnectedBackend(
            api=client,
            state_identity=state_access.build_state_identity(normalize_base_url(url), target, None),
            embedded=None,
            request_id=lambda: last_request.id,
            longest_call=client.max_call_seconds,
            server_clock=clock,
            hang_up=client.hang_up,
            redactor=redactor,
        )


def require_target_url(target: Target) -> str:
    """The url of a target that is not embedded; InputError without one."""
    if target.url:
        return target.url
    raise InputError.from_summary(
        "The target has no url",
        f"Target {target.name} has none: {target.describe_setting_sources('url')}.",
        "Set targets.NAME.url in the project file, or SYNAPSE_HOST; a login with the vendor's "
        "tools gives one, too.",
        position=target.position,
    )


def resolve_target_token(
    project: Project, target: Target, environ: Mapping[str, str]
) -> str | None:
    """The access token of a target; InputError without one, unless none is needed."""
    if target.token is not None:
        return _resolve_declared_token(project, target, target.token, environ)
    if is_loopback(urlsplit(target.url).hostname or ""):
        return None
    raise InputError.from_summary(
        "There are no credentials for this target",
        f"Nothing gives a token for {target.url}: {target.describe_setting_sources('token')}.",
        f"Set {TOKEN_VARIABLE}, or token: {{env: NAME}} of the target in the project file, or log "
        f"in to "
        "that host with the vendor's tools.",
        position=target.position,
    )


def _resolve_declared_token(
    project: Project, target: Target, token: SecretRef, environ: Mapping[str, str]
) -> str:
    try:
        return str(Resolver(project.root, environ).resolve_setting(token).reveal())
    except SecretUnavailable as missing:
        reason = "; ".join(finding.detail for finding in missing.diagnostics)
        raise InputError.from_summary(
            "There are no credentials for this target",
            f"The token of target {target.name} cannot be used: {reason}.",
            "Set it, or correct `token:` of the target in the project file.",
            position=target.position,
        ) from None
