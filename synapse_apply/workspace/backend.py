"""How a target's backend is connected: its url, token, masking, and log of requests.

And how a server of its secrets is: to which hosts a credential may go, and what they must show.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from synapse_apply.client import BackendClient
from synapse_apply.client.events import RequestEvent
from synapse_apply.client.http.environment import build_route_with_environment_proxies_and_tls
from synapse_apply.client.http.exchange import HttpExchanger
from synapse_apply.client.http.redaction import Redactor
from synapse_apply.client.http.server_clock import ServerClock
from synapse_apply.manifests.project.targets import TOKEN_VARIABLE
from synapse_apply.model.errors import InputError, SecretUnavailable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Target, iter_env_and_file_references
from synapse_apply.model.secrets.login import is_loopback
from synapse_apply.model.state import BackendIdentity
from synapse_apply.model.values import SecretRef
from synapse_apply.workspace import state_access
from synapse_apply.workspace.embedded import EmbeddedBackend
from synapse_apply.workspace.environment import (
    normalize_base_url,
    read_trace_parent,
    require_allowed_host,
)
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.known_secrets import (
    ResolveSecret,
    mask_agent_tokens_and_secret_state_url,
)

_log = logging.getLogger("synapse_apply.http")


@frozen
class ConnectedBackend:
    """A client of a backend, and the identity that the state must have for it.

    `redactor` masks the secrets it is given in every text of the backend. `request_id` returns the
    server's id of this thread's last request, `longest_call` the seconds that one call may take.
    """

    api: BackendClient
    state_identity: BackendIdentity
    embedded: EmbeddedBackend | None
    request_id: Callable[[], str]
    longest_call: Callable[[int], float]
    server_clock: ServerClock
    hang_up: Callable[[str], None]
    redactor: Redactor


class LastRequest(threading.local):
    """The server's id of this thread's last request. Each request is also logged."""

    id: str = ""

    def __init__(self, clock: ServerClock) -> None:
        self._clock = clock

    def remember_and_log_attempt_and_narrow_skew(self, event: RequestEvent) -> None:
        """Remember and log a finished attempt, and compare its time with the server's clock."""
        self.id = event.request_id or ""
        self._clock.narrow_skew(event)
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
def connect_backend_or_raise_without_credentials(
    target: Target,
    embedded: EmbeddedBackend | None,
    invocation: Invocation,
    resolve: ResolveSecret,
    *,
    retries: int = 3,
    find_refusal: Callable[[], str] = lambda: "",
    find_mutation_refusal: Callable[[], str] = lambda: "",
) -> Iterator[ConnectedBackend]:
    """Connect the backend of a target (`embedded` where it is that one); sends nothing yet.

    `resolve` returns the values of settings. `find_refusal` is called before each request and
    returns why it must not be sent, "" where it may; `find_mutation_refusal` the same for one that
    changes the backend. InputError without a url or a token, for an
    unusable one, and for a host that the token may not be sent to.
    """
    url = embedded.url if embedded else require_target_url(target)
    if embedded is None:
        sent = filter(None, (target.token, *target.agents.values()))
        require_host_of_credentials(url, sent, invocation)
    token = (
        embedded.token.reveal()
        if embedded
        else require_target_token_or_none_on_loopback(target, resolve)
    )
    clock, redactor = ServerClock(), Redactor()
    last_request = LastRequest(clock)
    with BackendClient(
        url,
        token,
        tenant=target.tenant or None,
        pool_size=max(invocation.parallelism, 1),
        retries=retries,
        on_request=last_request.remember_and_log_attempt_and_narrow_skew,
        refusal=find_refusal,
        mutation_refusal=find_mutation_refusal,
        redactor=redactor,
        trace_parent=read_trace_parent(invocation.environ),
    ) as client:
        # Before the first request: from then on every answer may repeat one of them.
        mask_agent_tokens_and_secret_state_url(redactor, target, resolve)
        yield ConnectedBackend(
            api=client,
            state_identity=state_access.build_state_identity(
                normalize_base_url(url), target, embedded
            ),
            embedded=embedded,
            request_id=lambda: last_request.id,
            longest_call=client.max_call_seconds,
            server_clock=clock,
            hang_up=client.hang_up,
            redactor=redactor,
        )


def require_host_of_credentials(
    url: str, sent: Iterable[SecretRef], invocation: Invocation
) -> None:
    """InputError where SYNAPSE_APPLY_HOSTS does not allow the host that credentials are sent to.

    And where a commit names another target's credential, which goes where that one's rule lets it.
    """
    require_allowed_host(url, invocation.environ)
    for ref in sent:
        # A file has many spellings; a variable none with a slash.
        named = {ref.name.upper(), os.path.realpath(ref.name)}
        for name, hosts in invocation.closed.items():
            if hosts and (os.path.realpath(name) if os.sep in name else name) in named:
                require_allowed_host(url, {"SYNAPSE_APPLY_HOSTS": ",".join(hosts)})


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


def require_target_token_or_none_on_loopback(target: Target, resolve: ResolveSecret) -> str | None:
    """The access token of a target, None where none is needed; InputError without one."""
    if target.token is not None:
        return _require_declared_token(target, target.token, resolve)
    # A server on this machine, such as one under test, may take whoever reaches it.
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


def _require_declared_token(target: Target, token: SecretRef, resolve: ResolveSecret) -> str:
    try:
        return str(resolve(token).reveal())
    except SecretUnavailable as missing:
        reason = "; ".join(finding.detail for finding in missing.diagnostics)
        raise InputError.from_summary(
            "There are no credentials for this target",
            f"The token of target {target.name} cannot be used: {reason}.",
            "Set it, or correct `token:` of the target in the project file.",
            position=target.position,
        ) from None


def _explain_unusable_ca_file_or_empty(ca_file: str) -> str:
    """Why no certificates can be read from a file, as a phrase; "" if they can."""
    if not Path(ca_file).is_file():
        return "does not exist"
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError:
        # Also an SSLError: what is wrong with the text, it does not say in words for people.
        return "holds no certificates in PEM, or cannot be read"
    return ""


def require_secret_server(
    origin: str, target: Target, setting: str, invocation: Invocation
) -> None:
    """SecretUnavailable for a server that may not get the credentials of a setting of secrets.

    `setting` is a block of the target's, such as `vault` or `sops.hc_vault`.
    """
    block: Any = target.source_settings
    for part in setting.split("."):
        block = block[part]
    try:
        # A project file of a pull request may name any server; the environment says which are
        # right.
        references = dict(iter_env_and_file_references({setting: block}))
        require_host_of_credentials(origin, references.values(), invocation)
    except InputError as refusal:
        hint = "Check the server's address; if it is right, add its host to SYNAPSE_APPLY_HOSTS."
        raise SecretUnavailable(
            *(finding.with_changes(hint=hint) for finding in refusal.diagnostics)
        ) from None


def prepare_secret_connection_or_raise(origin: str, ca_file: str) -> HttpExchanger:
    """Prepare connections to an origin; nothing is sent yet.

    `ca_file` has the trusted authorities, "" for those of the environment. SecretUnavailable for a
    `ca_file` without certificates.
    """
    if ca_file and (problem := _explain_unusable_ca_file_or_empty(ca_file)):
        raise SecretUnavailable.from_summary(
            "The certificate authority cannot be used",
            f"the file {ca_file} {problem}",
            "Correct ca_file of the target: a file of certificates in PEM, relative to the project "
            "file.",
        )
    try:
        route = build_route_with_environment_proxies_and_tls(origin, ca_file or None)
    except InputError as unusable:
        raise SecretUnavailable(*unusable.diagnostics) from None
    return HttpExchanger(route)
