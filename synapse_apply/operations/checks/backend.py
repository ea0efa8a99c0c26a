"""What `doctor` checks of a backend: url, credentials, one cheap read, versions, clock."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.project.targets import TOKEN_VARIABLE
from synapse_apply.model.checkup import CheckResult
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
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
from synapse_apply.model.secrets.login import is_loopback
from synapse_apply.operations.checks.clocks import build_clock_result
from synapse_apply.operations.checks.target_checkup import LazyTargetParts
from synapse_apply.secrets.login import read_login_with_problem_or_none_if_absent

HOSTS_VARIABLE = "SYNAPSE_APPLY_HOSTS"
HAS_LIST = "yes"


def check_url_source_and_encryption(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """The url and the setting it comes from; a warning for http:// to another machine."""
    backend_url, target = checkup.url.get_or_raise(), checkup.target.get_or_raise_unchecked_error()
    if target.is_embedded:
        yield CheckResult.build_ok("url", f"{backend_url} (the embedded backend)")
        return
    yield CheckResult.build_ok(
        "url", f"{backend_url} ({_describe_source_and_overridden(target, 'url')})"
    )
    parts = urlsplit(backend_url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        finding = warning_finding(
            "The token travels unencrypted",
            f"{backend_url} is reached without TLS.",
            "Use https:// if the backend has it.",
        )
        yield CheckResult.from_finding("url", finding)


def check_host_may_get_token(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Whether the token may be sent to this host."""
    checkup.host_permission.get_or_raise()
    limit = checkup.session.invocation.environ.get(HOSTS_VARIABLE)
    if checkup.target.get_or_raise_unchecked_error().is_embedded or limit is None:
        reason = (
            "the embedded backend is this process's own"
            if limit is not None
            else f"{HOSTS_VARIABLE} is not set"
        )
        yield CheckResult.build_ok("hosts", f"no limit ({reason})")
    else:
        yield CheckResult.build_ok("hosts", f"allowed by {HOSTS_VARIABLE}")


def check_token_source_and_login_file(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Where the token comes from, never what it is."""
    access_token, target = (
        checkup.token.get_or_raise(),
        checkup.target.get_or_raise_unchecked_error(),
    )
    if target.is_embedded:
        yield CheckResult.build_ok("token", "the embedded backend's own, new at each start")
    elif access_token is None:
        sources_text = target.describe_setting_sources("token")
        yield CheckResult.build_ok("token", f"none, and this is a loopback address: {sources_text}")
    else:
        yield CheckResult.build_ok("token", f"from {_describe_token_source(target)}")
        yield from _iter_warning_if_login_file_is_exposed(checkup, target)


def check_backend_answer(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Whether the backend answers and accepts the token, by one cheap read."""
    try:
        seconds = checkup.answer_seconds.get_or_raise()
    except RemoteError as failure:
        yield CheckResult.from_finding(
            "backend", build_cheap_read_failure_finding(failure, checkup)
        )
        return
    # The embedded backend takes its own token, which says nothing of anybody's.
    is_token_sent = (
        checkup.token.get_or_raise_unchecked_error()
        and not checkup.target.get_or_raise_unchecked_error().is_embedded
    )
    token_text = " and takes the token" if is_token_sent else ""
    yield CheckResult.build_ok("backend", f"answers in {seconds * 1000:.0f} ms{token_text}")


def report_requested_tenant(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Which tenant is requested; a backend that disagrees refuses the read."""
    target = checkup.target.get_or_raise_unchecked_error()
    checkup.answer_seconds.get_or_raise_unchecked_error()
    if target.is_embedded:
        yield CheckResult.build_ok("tenant", "the embedded backend's own")
    elif target.tenant:
        yield CheckResult.build_ok(
            "tenant", f"{target.tenant} ({_describe_source_and_overridden(target, 'tenant')})"
        )
    else:
        yield CheckResult.build_ok("tenant", "none named: that of the token")


def report_api_versions_of_kinds(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """The API version used for each kind."""
    target = checkup.target.get_or_raise_unchecked_error()
    checkup.answer_seconds.get_or_raise_unchecked_error()
    kinds: dict[str, list[str]] = {}
    for kind in CATALOGUE.values():
        kinds.setdefault(kind.select_newest_binding(target.api).api, []).append(kind.prefix)
    versions = (f"{version} for {', '.join(names)}" for version, names in sorted(kinds.items()))
    yield CheckResult.build_ok("api", "; ".join(versions))


def check_list_capabilities(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Operations that this backend has and some others lack."""
    target = checkup.target.get_or_raise_unchecked_error()
    checkup.answer_seconds.get_or_raise_unchecked_error()
    client = checkup.backend.get_or_raise_unchecked_error().api
    for kind in CATALOGUE.values():
        binding = kind.select_newest_binding(target.api)
        if binding.probe_list is None:
            continue
        try:
            has_list = binding.probe_list(client)
        except RemoteError as failure:
            finding = error_finding(
                "It cannot be told what this backend can do",
                f"{failure}",
                "Without an answer nothing is planned: ask who runs the backend.",
                request_id=failure.request_id,
            )
            yield CheckResult.from_finding("capability", finding, binding.list_capability)
            continue
        missing_text = f"no: import each {kind.prefix} that exists before the first apply"
        yield CheckResult.build_ok(
            "capability", HAS_LIST if has_list else missing_text, binding.list_capability
        )


def check_clock_against_server(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """How far this machine's clock is from the server's, by the answers so far."""
    target = checkup.target.get_or_raise_unchecked_error()
    yield build_clock_result(
        checkup.backend.get_or_raise_unchecked_error().server_clock.skew, target
    )


def _describe_source_and_overridden(target: Target, setting: str) -> str:
    """Where the value of a setting comes from, and which other value it overrides."""
    offers = target.looked_at.get(setting, ())
    winning_source = next((offer.source for offer in offers if not offer.reason), "")
    description = winning_source if "of the target" in winning_source else f"from {winning_source}"
    return "; ".join((description, *(str(offer) for offer in offers if offer.unused)))


def _describe_token_source(target: Target) -> str:
    source_text = _describe_source_and_overridden(target, "token").removeprefix("from ")
    if target.token is None or target.token.source == "login":
        return f"{source_text} (a login with the vendor's tools)"
    return f"{target.token.name} ({source_text})" if "of the target" in source_text else source_text


def _iter_warning_if_login_file_is_exposed(
    checkup: LazyTargetParts, target: Target
) -> Iterator[CheckResult]:
    login = read_login_with_problem_or_none_if_absent(checkup.session.invocation.environ)
    if target.token is None or target.token.source != "login" or not (login and login.is_exposed):
        return
    finding = warning_finding(
        "Others can read the login file",
        f"{login.file_label} holds a token, and its permissions let others on this machine read "
        f"it.",
        f"`chmod 600 {login.file_label}`",
    )
    yield CheckResult.from_finding("token", finding)


_REFUSAL_TEXTS: tuple[tuple[type[RemoteError], str, str], ...] = (
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
_FOREIGN_API_TEXT = (
    "What answers is not this API",
    "Check the url: it may need a prefix, or lead elsewhere.",
)


def build_cheap_read_failure_finding(failure: RemoteError, checkup: LazyTargetParts) -> Diagnostic:
    """The error for a failed cheap read, with what to do."""
    known_texts = (text[1:] for text in _REFUSAL_TEXTS if isinstance(failure, text[0]))
    summary, hint = next(known_texts, _FOREIGN_API_TEXT)
    target = checkup.target.get_or_raise_unchecked_error()
    token_variable = TOKEN_VARIABLE if target.token is None else target.token.name
    hint = hint.format(token=token_variable, tenant=target.tenant or "none named")
    return error_finding(summary, f"{failure}", hint, request_id=failure.request_id)
