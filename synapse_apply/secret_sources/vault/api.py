"""Which requests Vault gets, what its answers mean, and what is said when it gives no secret.

Written from Vault's HTTP API: KV version 2, JWT login, a token's look-up and revocation of itself.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from synapse_apply.model.coding.json_types import RequestBody
from synapse_apply.model.coding.server_json import OddJsonError, parse_strict_json
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.remote.http_exchange import (
    HttpAnswer,
    HttpExchangeError,
    HttpFault,
    HttpRequest,
    SendHttpRequest,
)
from synapse_apply.model.secrets.login import have_same_origin
from synapse_apply.model.values import Sensitive
from synapse_apply.secret_sources.vault.source import (
    JWT_METHOD,
    VaultLogin,
    VaultPath,
    VaultSettings,
)

_log = logging.getLogger(__name__)
_MAX_REDIRECTS = 2
# Only these keep the method and body of a request (RFC 9110, 15.4.8 and 15.4.9).
_FOLLOWED_REDIRECTS = frozenset({307, 308})
# Statuses whose meaning depends on what was asked for; all others end the request here.
_STATUSES_OF_CALLS = frozenset({200, 204, 400, 403, 404})
# A node that is behind, a limit of requests, a gateway that restarts: these pass.
_PASSING_STATUSES = frozenset({412, 429, 502, 504})
# A run that ends does not wait long for a token that expires by itself.
_REVOKE_SECONDS = 5.0


@frozen
class VaultAnswer:
    """A parsed answer of Vault; its own words are searched for causes, and never shown."""

    status: int
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_success(self) -> bool:
        return self.status in {200, 204}

    def get_nested_map_or_none(self, *names: str) -> Mapping[str, Any] | None:
        """The JSON object at these names, one inside the other; None where there is none."""
        value: Any = self.document
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value if isinstance(value, Mapping) else None

    def errors_contain_any_of(self, *phrases: str) -> bool:
        """Whether one of Vault's own error messages contains one of these phrases."""
        errors = self.document.get("errors")
        errors = errors if isinstance(errors, list) else []
        texts = [text.lower() for text in errors if isinstance(text, str)]
        return any(phrase in text for phrase in phrases for text in texts)


class VaultApi:
    """The calls of one Vault server; every failure that is not of a single secret is raised."""

    def __init__(self, settings: VaultSettings, send: SendHttpRequest) -> None:
        """`send` sends to the origin of `settings.address` and follows no redirect."""
        self._settings = settings
        self._send = send
        self._problems = VaultProblems(settings)
        self._prefix = settings.path_prefix

    def request_secret_version(
        self, path: VaultPath, version: int | None, token: Sensitive
    ) -> VaultAnswer:
        """Read one version of a secret, without `version` the newest (`GET MOUNT/data/NAME`)."""
        query = f"?version={version}" if version is not None else ""
        return self._send_call_following_same_server_redirects(
            "GET", f"{_quote_url_path(path.mount)}/data/{_quote_url_path(path.name)}{query}", token
        )

    def request_mount(self, path: VaultPath, token: Sensitive) -> VaultAnswer:
        """What is mounted where a path lies (`GET sys/internal/ui/mounts/PATH`)."""
        return self._send_call_following_same_server_redirects(
            "GET", f"sys/internal/ui/mounts/{_quote_url_path(str(path))}", token
        )

    def request_token_for_jwt(self, mount: str, role: str, jwt: Sensitive) -> VaultAnswer:
        """Ask for a token (`POST auth/MOUNT/login`)."""
        body = {"role": role, "jwt": jwt.reveal()}
        return self._send_call_following_same_server_redirects(
            "POST", f"auth/{_quote_url_path(mount)}/login", None, body
        )

    def request_token_lookup(self, token: Sensitive) -> VaultAnswer:
        """What a token is (`GET auth/token/lookup-self`)."""
        return self._send_call_following_same_server_redirects(
            "GET", "auth/token/lookup-self", token
        )

    def request_token_revocation(self, token: Sensitive) -> None:
        """End a token (`POST auth/token/revoke-self`)."""
        self._send_call_following_same_server_redirects(
            "POST", "auth/token/revoke-self", token, max_seconds=_REVOKE_SECONDS
        )

    def _send_call_following_same_server_redirects(
        self,
        method: str,
        path: str,
        token: Sensitive | None,
        body: RequestBody | None = None,
        max_seconds: float = float("inf"),
    ) -> VaultAnswer:
        """Send a call; SecretUnavailable for all that says nothing of a single secret."""
        # Agents and proxies of Vault may demand it, as no web page can make a browser send it.
        headers = {"X-Vault-Request": "true"}
        if self._settings.namespace:
            headers["X-Vault-Namespace"] = self._settings.namespace
        if token is not None:
            headers["X-Vault-Token"] = token.reveal()
        content = b""
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        url_path = f"{self._prefix}/v1/{path}"
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._send_or_raise_unavailable(
                HttpRequest(method, url_path, headers, content, _PASSING_STATUSES, max_seconds)
            )
            _log.debug("Vault: %s %s -> %d", method, path, answer.status)
            if not 300 <= answer.status < 400:
                return self._parse_answer_or_raise_unless_call_decides(answer)
            url_path = self._resolve_redirect_to_same_server(url_path, answer)
        raise self._problems.build_unfollowed_redirect_error()

    def _send_or_raise_unavailable(self, request: HttpRequest) -> HttpAnswer:
        try:
            return self._send(request)
        except HttpExchangeError as failure:
            raise self._problems.build_fault_error(failure) from None

    def _resolve_redirect_to_same_server(self, url_path: str, answer: HttpAnswer) -> str:
        """Path and query of a redirect to this same server; SecretUnavailable for any other."""
        location = answer.headers.get("location", "")
        base_url = f"{self._settings.origin}{url_path}"
        try:
            url = urljoin(base_url, location) if location else ""
        except ValueError:
            url = ""
        parts = urlsplit(url) if have_same_origin(url, base_url) else None
        if (
            answer.status not in _FOLLOWED_REDIRECTS
            or parts is None
            or "@" in parts.netloc
            or not parts.path.startswith(f"{self._prefix}/v1/")
            or not (url.isascii() and url.isprintable())
            or " " in url
        ):
            raise self._problems.build_unfollowed_redirect_error()
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def _parse_answer_or_raise_unless_call_decides(self, answer: HttpAnswer) -> VaultAnswer:
        """Returns 200, 204, 400, 403 and 404 alone; SecretUnavailable for all else."""
        if answer.status == 204:
            return VaultAnswer(answer.status)
        content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            if answer.status >= 500:
                raise self._problems.build_gateway_error(answer.status)
            reason = f"it answered {answer.status}, and not with JSON"
            raise self._problems.build_foreign_server_error(reason)
        document, problem = _parse_json_object_or_problem(answer.body)
        if document is None:
            raise self._problems.build_malformed_answer_error(problem)
        parsed = VaultAnswer(answer.status, document)
        if not _is_form_of_vault(parsed):
            reason = f"it answered {answer.status} with JSON that is not Vault's"
            raise self._problems.build_foreign_server_error(reason)
        if answer.status == 500 and parsed.errors_contain_any_of("not active", "standby"):
            raise self._problems.build_status_error(473)
        if answer.status not in _STATUSES_OF_CALLS:
            is_sealed = answer.status == 503 and parsed.errors_contain_any_of("sealed")
            raise self._problems.build_status_error(answer.status, is_sealed=is_sealed)
        if answer.status == 404 and parsed.errors_contain_any_of(
            "namespace not found", "no namespace"
        ):
            raise self._problems.build_unknown_namespace_error()
        return parsed


def _parse_json_object_or_problem(body: bytes) -> tuple[Mapping[str, Any] | None, str]:
    """The JSON object of a body, or why there is none; quotes nothing of it."""
    try:
        value = parse_strict_json(body)
    except OddJsonError as problem:
        return None, str(problem)
    return (value, "") if isinstance(value, Mapping) else (None, "it is no JSON object")


def _is_form_of_vault(answer: VaultAnswer) -> bool:
    """Whether a document has what every answer of Vault has: `errors`, else `request_id`."""
    errors = answer.document.get("errors")
    if answer.status >= 400 and isinstance(errors, list):
        return True
    return isinstance(answer.document.get("request_id"), str)


def _quote_url_path(path: str) -> str:
    """A path with all characters escaped that mean something else in a URL."""
    return quote(path, safe="/")


# No message holds a token, a value or a word of the server: it may repeat what it was sent.
_MAX_KEY_NAMES = 20
_KEY_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class _Words(NamedTuple):
    """Summary, detail and hint of an error; `{vault}` is the address."""

    summary: str
    detail: str
    hint: str


_FAULTS = {
    HttpFault.UNREACHABLE: _Words(
        "Vault cannot be reached",
        "Vault at {vault} cannot be reached: {reason}",
        "Check vault.address of the target, and the network and proxy of this machine.",
    ),
    HttpFault.TIMEOUT: _Words(
        "Vault does not answer in time",
        "Vault at {vault} does not answer in time",
        "Try again; if it stays so, ask who runs this Vault whether it is overloaded.",
    ),
    HttpFault.UNTRUSTED: _Words(
        "The connection to Vault is not trusted",
        "Vault at {vault} cannot be trusted: {reason}",
        "Name the certificate authority of this Vault as vault.ca_file of the target; the name in "
        "vault.address must be in its certificate.",
    ),
    HttpFault.BROKEN: _Words(
        "Vault's answer is not whole",
        "the answer of {vault} cannot be used: {reason}",
        "Try again; check whether a proxy between here and Vault changes its answers.",
    ),
    HttpFault.TOO_LARGE: _Words(
        "Vault's answer is too large",
        "the answer of {vault} is no secret: {reason}",
        "Check vault.address of the target: another server may answer there.",
    ),
}

_STANDBY_HINT = (
    "Set vault.address of the target to the active node, or to a load balancer that leads there."
)
_STATUSES = {
    412: _Words(
        "Vault is not up to date yet",
        "the node at {vault} has not got the latest writes yet",
        "Try again in a moment, or set vault.address of the target to the active node.",
    ),
    429: _Words(
        "Vault takes no more requests",
        "Vault at {vault} limits requests, or the node there is a standby",
        f"Try again later. {_STANDBY_HINT}",
    ),
    472: _Words(
        "This Vault is a standby",
        "the Vault at {vault} is a secondary for disaster recovery, which serves no secrets",
        "Set vault.address of the target to the primary cluster.",
    ),
    473: _Words(
        "This Vault is a standby",
        "the node at {vault} is a standby that does not serve this request",
        _STANDBY_HINT,
    ),
    500: _Words(
        "Vault failed",
        "Vault at {vault} had an error of its own (500)",
        "Ask who runs this Vault: its log has the reason.",
    ),
    501: _Words(
        "Vault is not initialised",
        "the Vault at {vault} is not initialised",
        "Check vault.address of the target; a new Vault is set up with `vault operator init`.",
    ),
}
_GATEWAY = _Words(
    "Vault cannot be reached",
    "what stands before Vault at {vault} answered {status}",
    "Ask who runs this Vault, or its load balancer, whether it is running.",
)
_SEALED = _Words(
    "Vault is sealed",
    "the Vault at {vault} is sealed",
    "Ask who runs this Vault to unseal it (`vault operator unseal`), then run the command again.",
)
_OTHER_STATUS = _Words(
    "Vault refuses the request",
    "Vault at {vault} answered {status}",
    "Check vault.address and vault.namespace of the target.",
)


class VaultProblems:
    """Builds the error for each cause; every one is a SecretUnavailable with one finding."""

    def __init__(self, settings: VaultSettings) -> None:
        self._settings = settings

    def _build_error(self, words: _Words, **values: object) -> SecretUnavailable:
        filled = {"vault": self._settings.address, **values}
        return SecretUnavailable.from_summary(
            words.summary, words.detail.format(**filled), words.hint.format(**filled)
        )

    def build_fault_error(self, failure: HttpExchangeError) -> SecretUnavailable:
        """No whole answer arrived."""
        return self._build_error(_FAULTS[failure.fault], reason=failure.reason)

    def build_status_error(self, status: int, *, is_sealed: bool = False) -> SecretUnavailable:
        """An answer of Vault that says nothing of a single secret."""
        if is_sealed:
            return self._build_error(_SEALED)
        if status in _STATUSES:
            return self._build_error(_STATUSES[status])
        return self._build_error(_GATEWAY if status >= 500 else _OTHER_STATUS, status=status)

    def build_gateway_error(self, status: int) -> SecretUnavailable:
        """A 5xx answer that is not Vault's own."""
        return self._build_error(_GATEWAY, status=status)

    def build_unfollowed_redirect_error(self) -> SecretUnavailable:
        """A redirect to another server, where no token is sent."""
        return SecretUnavailable.from_summary(
            "This Vault is a standby",
            f"{self._settings.address} redirects to another server, as a standby does; a token is "
            "sent to vault.address only",
            _STANDBY_HINT,
        )

    def build_foreign_server_error(self, reason: str) -> SecretUnavailable:
        """The answer is none that a Vault gives."""
        return SecretUnavailable.from_summary(
            "This is no Vault server",
            f"what answers at {self._settings.address} is no Vault: {reason}",
            "Check vault.address of the target: it is the URL without /v1 and without /ui.",
        )

    def build_malformed_answer_error(self, reason: str) -> SecretUnavailable:
        """The answer says that it is JSON of Vault, and is not."""
        return SecretUnavailable.from_summary(
            "Vault's answer is malformed",
            f"the answer of {self._settings.address} cannot be used: {reason}",
            "Check whether another server or a proxy answers there.",
        )

    def build_unknown_namespace_error(self) -> SecretUnavailable:
        """The namespace does not exist, or is not visible."""
        name = self._settings.namespace
        return SecretUnavailable.from_summary(
            "Vault has no such namespace",
            f"Vault at {self._settings.address} knows no namespace {name or '(none is named)'}",
            "Correct vault.namespace of the target: the full path, as `vault namespace list` and "
            "the address bar of its web page show it.",
        )

    def build_denied_read_or_refused_token_error(
        self, path: VaultPath, login: VaultLogin, *, is_token_refused: bool
    ) -> SecretUnavailable:
        """403: no policy allows the read, or the token is not accepted at all."""
        if is_token_refused:
            return self.build_refused_token_error(login)
        policy = f'path "{path.mount}/data/{path.name}" {{ capabilities = ["read"] }}'
        return SecretUnavailable.from_summary(
            "Vault denies the read",
            f"Vault does not let {login} read {path}{self._format_namespace_or_empty()}",
            f"Its policy needs: {policy}. Check the path and vault.namespace, too: Vault denies "
            "what does not exist.",
        )

    def build_refused_token_error(self, login: VaultLogin) -> SecretUnavailable:
        """The token is unknown, revoked, expired, or of another namespace."""
        return SecretUnavailable.from_summary(
            "Vault does not accept the token",
            f"Vault at {self._settings.address} does not accept {login}"
            f"{self._format_namespace_or_empty()}",
            "It may have expired, or belong to another Vault or namespace: log in again "
            "(`vault login`), or correct vault.token or vault.jwt of the target.",
        )

    def build_missing_secret_error(self, path: VaultPath, version: int | None) -> SecretUnavailable:
        """404: there is no such secret, or it has no such version."""
        hint = f"`vault kv get -mount={path.mount} {path.name}` shows what is there."
        if path.name.startswith(("data/", "metadata/")):
            hint = f"Write it without `data/`: {path.mount}/{path.name.partition('/')[2]}."
        if version is not None:
            return SecretUnavailable.from_summary(
                "Vault has no such version",
                f"Vault has no version {version} of {path}, or no such secret"
                f"{self._format_namespace_or_empty()}",
                hint,
            )
        return SecretUnavailable.from_summary(
            "Vault has no such secret",
            f"there is no secret {path}{self._format_namespace_or_empty()}, or all its versions "
            "were removed",
            hint,
        )

    def build_gone_version_error(
        self, path: VaultPath, version: int, *, is_destroyed: bool
    ) -> SecretUnavailable:
        """The version was deleted, which can be undone, or destroyed, which cannot."""
        command = f"vault kv undelete -mount={path.mount} -versions={version} {path.name}"
        return SecretUnavailable.from_summary(
            f"A version of a secret is {'destroyed' if is_destroyed else 'deleted'}",
            f"version {version} of {path} is {'destroyed' if is_destroyed else 'deleted'}",
            "Name another version in the manifest, or write the secret again."
            if is_destroyed
            else f"`{command}` brings it back; else name another version.",
        )

    def build_other_version_error(self, path: VaultPath, version: int) -> SecretUnavailable:
        """The answer is of another version than was asked for."""
        return self.build_malformed_answer_error(
            f"it is not of version {version} of {path}, which was asked for"
        )

    def build_mount_version_error(self, path: VaultPath) -> SecretUnavailable:
        """The mount is a KV engine of version 1, or no KV engine."""
        return SecretUnavailable.from_summary(
            "The mount is not KV version 2",
            f"{path.mount} is a secrets engine that is not KV version 2",
            "Only KV version 2 is read: `vault kv enable-versioning "
            f"{path.mount}` makes a KV mount one, for all who use it.",
        )

    def build_missing_mount_error(self, path: VaultPath) -> SecretUnavailable:
        """No secrets engine is mounted where the path begins."""
        return SecretUnavailable.from_summary(
            "Vault has no such mount",
            f"no secrets engine is mounted at {path.mount}{self._format_namespace_or_empty()}",
            "Check the first part of the path and vault.namespace. A mount whose path has a slash "
            "is named in vault.mounts of the target.",
        )

    def build_other_mount_error(self, path: VaultPath) -> SecretUnavailable:
        """The secrets engine of the path is mounted at another path than its first part."""
        return SecretUnavailable.from_summary(
            "The mount is another one",
            f"the secrets engine of {path} is not mounted at {path.mount}",
            "A mount whose path has a slash is named in vault.mounts of the target: "
            "`vault secrets list` shows them.",
        )

    def build_missing_key_error(
        self, path: VaultPath, key: str, key_names: Iterable[str]
    ) -> SecretUnavailable:
        """The secret has other keys; only names that look like names are shown."""
        names = list(key_names)
        plain_names = sorted(name for name in names if _KEY_NAME.fullmatch(name))[:_MAX_KEY_NAMES]
        other_count = len(names) - len(plain_names)
        keys = ", ".join(plain_names) + (f" and {other_count} more" if other_count else "")
        return SecretUnavailable.from_summary(
            "The secret has no such key",
            f"{path} has no key {key}" + (f"; its keys are {keys}" if plain_names else ""),
            "Correct `key` in the manifest.",
        )

    def build_failed_login_error(self, login: VaultLogin, reason: str) -> SecretUnavailable:
        """Vault gives no token for the JWT."""
        return SecretUnavailable.from_summary(
            "The login to Vault failed",
            f"Vault gives no token to {login}{self._format_namespace_or_empty()}: {reason}",
            "Check vault.jwt and vault.namespace of the target against "
            f"`vault read auth/{login.mount}/role/{login.role}`."
            if login.method == JWT_METHOD
            else "Check vault.token of the target.",
        )

    def build_missing_login_error(self, reasons: Iterable[str]) -> SecretUnavailable:
        """No login has a credential."""
        return SecretUnavailable.from_summary(
            "There is no login for Vault",
            f"nothing gives a token for Vault: {'; '.join(reasons)}",
            "Set one of them, or correct vault.token or vault.jwt of the target.",
        )

    def _format_namespace_or_empty(self) -> str:
        return f" in namespace {self._settings.namespace}" if self._settings.namespace else ""
