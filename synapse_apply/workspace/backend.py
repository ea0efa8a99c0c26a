"""How a target's backend is connected: its url, token, masking, and log of requests.

And how a server of its secrets is: to which hosts a credential may go, and what they must show.
"""

from __future__ import annotations

import logging
import re
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from synapse_apply.client import BackendClient
from synapse_apply.client.calls import RequestEvent
from synapse_apply.client.http.environment import build_route_with_environment_proxies_and_tls
from synapse_apply.client.http.exchange import HttpExchanger
from synapse_apply.client.http.pacing import ServerClock
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.project.targets import TOKEN_VARIABLE
from synapse_apply.model.errors import InputError, SecretUnavailable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Target, iter_references
from synapse_apply.model.redaction import Redactor
from synapse_apply.model.resource import Desired
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.secrets.secret_rules import is_loopback
from synapse_apply.model.state import BackendIdentity
from synapse_apply.model.values import SecretRef, Sensitive, is_map
from synapse_apply.workspace import environment, state_access
from synapse_apply.workspace.embedded import EmbeddedBackend
from synapse_apply.workspace.invocation import Invocation

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
        environment.require_host_of_credentials(url, sent, invocation)
    token = embedded.token.reveal() if embedded else require_target_token(target, resolve)
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
        trace_parent=environment.read_trace_parent(invocation.environ),
    ) as client:
        # Before the first request: from then on every answer may repeat one of them.
        mask_settings(redactor, target, resolve)
        yield ConnectedBackend(
            api=client,
            state_identity=state_access.build_state_identity(
                environment.normalize_base_url(url), target, embedded
            ),
            embedded=embedded,
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
        "Set targets.NAME.url in the project file, or SYNAPSE_HOST, or log in with the vendor's "
        "tools.",
        position=target.position,
    )


def require_target_token(target: Target, resolve: ResolveSecret) -> str | None:
    """The access token of a target, None where none is needed; InputError without one."""
    if target.token is not None:
        try:
            return str(resolve(target.token).reveal())
        except SecretUnavailable as missing:
            reason = "; ".join(finding.detail for finding in missing.diagnostics)
            raise InputError.from_summary(
                "There are no credentials for this target",
                f"The token of target {target.name} cannot be used: {reason}.",
                "Set the token, or correct `token:` of the target in the project file.",
                position=target.position,
            ) from None
    # A server on this machine, such as one under test, may take whoever reaches it.
    if is_loopback(urlsplit(target.url).hostname or ""):
        return None
    raise InputError.from_summary(
        "There are no credentials for this target",
        f"No token is set for {target.url}: {target.describe_setting_sources('token')}.",
        f"Set {TOKEN_VARIABLE}, or token: {{env: NAME}} of the target in the project file, or log "
        "in to that host with the vendor's tools.",
        position=target.position,
    )


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
        references = dict(iter_references({setting: block}))
        environment.require_host_of_credentials(origin, references.values(), invocation)
    except InputError as refusal:
        hint = "Check the server's address; if it is right, add its host to SYNAPSE_APPLY_HOSTS."
        raise SecretUnavailable(
            *(finding.with_changes(hint=hint) for finding in refusal.diagnostics)
        ) from None


def prepare_secret_connection(origin: str, ca_file: str) -> HttpExchanger:
    """Prepare connections to an origin; nothing is sent yet.

    `ca_file` has the trusted authorities, "" for those of the environment. SecretUnavailable for a
    `ca_file` without certificates.
    """
    problem = ""
    if ca_file and not Path(ca_file).is_file():
        problem = "does not exist"
    elif ca_file:
        try:
            ssl.create_default_context(cafile=ca_file)
        except OSError:
            # Also an SSLError: what is wrong with the text, it does not say in words for people.
            problem = "holds no certificates in PEM, or cannot be read"
    if problem:
        raise SecretUnavailable.from_summary(
            "The certificate authority cannot be used",
            f"the file {ca_file} {problem}",
            "Correct the target's ca_file: a file of certificates in PEM, relative to the project "
            "file.",
        )
    try:
        route = build_route_with_environment_proxies_and_tls(origin, ca_file or None)
    except InputError as unusable:
        raise SecretUnavailable(*unusable.diagnostics) from None
    return HttpExchanger(route)


ResolveSecret = Callable[[SecretRef], Sensitive]

# A literal stands in the file for all to read. It may be `us-west-2` where every leaf counts as
# secret; only what looks like a credential is worth hiding in a report.
_CREDENTIAL_PATTERN = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])\S{12,}", re.DOTALL)


def mask_declared(
    redactor: Redactor, desired: Iterable[Desired], marks: SecretMarks, resolve: ResolveSecret
) -> None:
    """Register the secrets of declared resources with the redactor, and their public texts.

    A secret that does not resolve is skipped: it is not sent either.
    """
    public_texts = set(_iter_field_names(marks))
    references: dict[tuple[str, ...], SecretRef] = {}
    for resource in desired:
        for value in _split_texts(resource.spec, public_texts):
            if isinstance(value, SecretRef):
                if value.literal is not None:
                    text = value.literal.reveal()
                    if isinstance(text, str) and _CREDENTIAL_PATTERN.fullmatch(text):
                        redactor.mask_from_now_on(text)
                elif not value.keeps_live_value:
                    references[value.identity] = value
    redactor.stop_masking_equal_texts(public_texts)
    _mask(redactor, references.values(), resolve)


def mask_references(
    redactor: Redactor, references: Iterable[SecretRef], marks: SecretMarks, resolve: ResolveSecret
) -> None:
    """Register the values of references with the redactor, for commands without manifests.

    A reference that does not resolve is skipped.
    """
    redactor.stop_masking_equal_texts(set(_iter_field_names(marks)))
    _mask(redactor, references, resolve)


def mask_settings(redactor: Redactor, target: Target, resolve: ResolveSecret) -> None:
    """Register the tokens of the target's agents, and the url of its state, with the redactor.

    The client itself masks the token that calls carry.
    """
    url = target.state.url
    urls = [url] if isinstance(url, SecretRef) else []
    _mask(redactor, (*target.agents.values(), *urls), resolve)
    # Only a url with user information can hold a password.
    if isinstance(url, str) and "@" in url:
        redactor.mask_from_now_on(url)


def _mask(redactor: Redactor, references: Iterable[SecretRef], resolve: ResolveSecret) -> None:
    for ref in references:
        with suppress(SecretUnavailable):
            redactor.mask_from_now_on(resolve(ref).reveal())


def _split_texts(tree: Mapping[str, Any], public_texts: set[str]) -> list[Any]:
    """Add texts and field names of a spec to `public_texts`; returns its other values."""
    other_values: list[Any] = []
    public_texts.update(tree)
    for value in tree.values():
        if type(value) is str:
            public_texts.add(value)
        elif is_map(value):
            other_values += _split_texts(value, public_texts)
        elif isinstance(value, list | tuple):
            public_texts.update(item for item in value if isinstance(item, str))
            other_values += (item for item in value if not isinstance(item, str))
        elif isinstance(value, str):
            public_texts.add(value)
        else:
            other_values.append(value)
    return other_values


def _iter_field_names(marks: SecretMarks) -> Iterator[str]:
    """All field names of the kinds and of their schemas, which are never secret."""
    for kind in CATALOGUE.values():
        yield from kind.rules
        for binding in kind.bindings.values():
            yield from binding.fields
    for kind_marks in marks.kinds.values():
        for paths in (
            *kind_marks.secret_paths_by_value.values(),
            *kind_marks.described_paths_by_value.values(),
        ):
            yield from (str(part) for path in paths for part in path)
