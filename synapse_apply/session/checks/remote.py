"""The backend as it is reached from here: url, credentials, the one cheap read, its clock."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from synapse_apply.client.surroundings import is_loopback
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.holes import TOKEN
from synapse_apply.model.checkup import Row
from synapse_apply.model.diagnostic import Diagnostic, error, warning
from synapse_apply.model.errors import (
    Forbidden,
    RateLimited,
    RemoteError,
    RemoteTimeout,
    ServerFault,
    Unauthorized,
    Unreachable,
)
from synapse_apply.model.project import Target
from synapse_apply.secrets.login import read_login
from synapse_apply.session.checks.clocks import clock_row
from synapse_apply.session.checks.patient import Patient

HOSTS = "SYNAPSE_APPLY_HOSTS"
HAS_LIST = "yes"


def url(patient: Patient) -> Iterator[Row]:
    """Where the backend is, and who says so."""
    found, target = patient.url.get(), patient.target.needed()
    if target.is_embedded:
        yield Row.ok("url", f"{found} (the embedded backend)")
        return
    yield Row.ok("url", f"{found} ({_source(target, 'url')})")
    parts = urlsplit(found)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        finding = warning(
            "The token travels unencrypted",
            f"{found} is reached without TLS.",
            "Use https:// if the backend has it.",
        )
        yield Row.of("url", finding)


def hosts(patient: Patient) -> Iterator[Row]:
    """Whether the token may go there."""
    patient.host.get()
    limit = patient.where.environ.get(HOSTS)
    if patient.target.needed().is_embedded or limit is None:
        why = "the embedded backend is this process's own" if limit else f"{HOSTS} is not set"
        yield Row.ok("hosts", f"no limit ({why})")
    else:
        yield Row.ok("hosts", f"allowed by {HOSTS}")


def token(patient: Patient) -> Iterator[Row]:
    """Where the token comes from, never what it is."""
    found, target = patient.token.get(), patient.target.needed()
    if target.is_embedded:
        yield Row.ok("token", "the embedded backend's own, new at each start")
    elif found is None:
        looked = target.looked_for("token")
        yield Row.ok("token", f"none, and this is a loopback address: {looked}")
    else:
        yield Row.ok("token", f"from {_token_source(target)}")
        yield from _exposed(patient, target)


def backend(patient: Patient) -> Iterator[Row]:
    """Whether it answers and takes the token: one cheap read."""
    try:
        seconds = patient.answer.get()
    except RemoteError as failure:
        yield Row.of("backend", refused(failure, patient))
        return
    sent = patient.token.needed() and not patient.target.needed().is_embedded
    taken = " and takes the token" if sent else ""
    yield Row.ok("backend", f"answers in {seconds * 1000:.0f} ms{taken}")


def tenant(patient: Patient) -> Iterator[Row]:
    """Which tenant is asked for; a backend that knows better refuses the read."""
    target = patient.target.needed()
    patient.answer.needed()
    if target.is_embedded:
        yield Row.ok("tenant", "the embedded backend's own")
    elif target.tenant:
        yield Row.ok("tenant", f"{target.tenant} ({_source(target, 'tenant')})")
    else:
        yield Row.ok("tenant", "none named: that of the token")


def api(patient: Patient) -> Iterator[Row]:
    """The API version of each kind; what answers speaks it."""
    target = patient.target.needed()
    patient.answer.needed()
    kinds: dict[str, list[str]] = {}
    for kind in CATALOGUE.values():
        kinds.setdefault(kind.binding(target.api).api, []).append(kind.prefix)
    versions = (f"{version} for {', '.join(names)}" for version, names in sorted(kinds.items()))
    yield Row.ok("api", "; ".join(versions))


def capabilities(patient: Patient) -> Iterator[Row]:
    """What this backend can do that not every one can."""
    target = patient.target.needed()
    patient.answer.needed()
    client = patient.backend.needed().api
    for kind in CATALOGUE.values():
        binding = kind.binding(target.api)
        if binding.has_list is None:
            continue
        try:
            has_list = binding.has_list(client)
        except RemoteError as failure:
            finding = error(
                "It cannot be told what this backend can do",
                f"{failure}",
                "Without an answer nothing is planned: ask who runs the backend.",
                request_id=failure.request_id,
            )
            yield Row.of("capability", finding, binding.list_needs)
            continue
        no = f"no: import each {kind.prefix} that exists before the first apply"
        yield Row.ok("capability", HAS_LIST if has_list else no, binding.list_needs)


def clock(patient: Patient) -> Iterator[Row]:
    """How this machine's clock stands to the server's, by the answers so far."""
    target = patient.target.needed()
    yield clock_row(patient.backend.needed().server_clock.skew, target)


def _source(target: Target, setting: str) -> str:
    """Who says a setting of a target, and who says another one in vain."""
    offers = target.looked_at.get(setting, ())
    won = next((one.source for one in offers if not one.why), "")
    said = won if "of the target" in won else f"from {won}"
    return "; ".join((said, *(str(one) for one in offers if one.unused)))


def _token_source(target: Target) -> str:
    said = _source(target, "token").removeprefix("from ")
    if target.token is None or target.token.source == "login":
        return f"{said} (a login with the vendor's tools)"
    return f"{target.token.name} ({said})" if "of the target" in said else said


def _exposed(patient: Patient, target: Target) -> Iterator[Row]:
    login = read_login(patient.where.environ)
    if target.token is None or target.token.source != "login" or not (login and login.exposed):
        return
    finding = warning(
        "Others can read the login file",
        f"{login.place} holds a token, and its permissions let others on this machine read it.",
        f"`chmod 600 {login.place}`",
    )
    yield Row.of("token", finding)


_REFUSALS: tuple[tuple[type[RemoteError], str, str], ...] = (
    (Unauthorized, "The backend does not accept the token", "Put one that is valid into {token}."),
    (
        Forbidden,
        "The backend refuses this token",
        "Check the tenant ({tenant}) and what the token of {token} may do.",
    ),
    (RateLimited, "The backend limits requests", "Try again later."),
    (RemoteTimeout, "The backend does not answer in time", "Check the url and the network."),
    (
        Unreachable,
        "The backend cannot be reached",
        "Check the url, the network and the proxy (HTTPS_PROXY, NO_PROXY).",
    ),
    (ServerFault, "The backend fails", "Try again later, or ask who runs it."),
)
_FOREIGN = "What answers is not this API", "Check the url: it may need a prefix, or lead elsewhere."


def refused(failure: RemoteError, patient: Patient) -> Diagnostic:
    """What a failure of the one cheap read means, and what to do."""
    found = ((summary, hint) for kind, summary, hint in _REFUSALS if isinstance(failure, kind))
    summary, hint = next(found, _FOREIGN)
    target = patient.target.needed()
    source = TOKEN
    if target.token is not None:
        source = target.token.name
    told = hint.format(token=source, tenant=target.tenant or "none named")
    return error(summary, f"{failure}", told, request_id=failure.request_id)
