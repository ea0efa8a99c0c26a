"""Which requests Vault gets, what its answers mean, and what is said when it gives no secret.

Written from Vault's HTTP API: KV version 2, JWT login, a token's look-up and revocation of itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import field
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import RequestBody
from synapse_apply.model.json_values import OddJsonError, parse_strict_json
from synapse_apply.model.remote import (
    HttpAnswer,
    HttpExchangeError,
    HttpFault,
    HttpRequest,
    SendHttpRequest,
)
from synapse_apply.model.secrets.secret_rules import have_same_origin
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


@frozen
class VaultAnswer:
    """A parsed answer of Vault; its own words are searched for causes, and never shown."""

    status: int
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_success(self) -> bool:
        return self.status in {200, 204}

    def nested(self, *names: str) -> Mapping[str, Any] | None:
        """The JSON object at these names, one inside the other; None where there is none."""
        value: Any = self.document
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value if isinstance(value, Mapping) else None

    def says(self, *phrases: str) -> bool:
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

    def send_call(
        self,
        method: str,
        path: str,
        token: Sensitive | None,
        body: RequestBody | None = None,
        *,
        query: str = "",
        max_seconds: float = float("inf"),
    ) -> VaultAnswer:
        """Send a call; SecretUnavailable for all that says nothing of a single secret."""
        # Escaped are all characters that mean something else in a URL.
        path = quote(path, safe="/") + query
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
            request = HttpRequest(
                method, url_path, headers, content, _PASSING_STATUSES, max_seconds
            )
            try:
                answer = self._send(request)
            except HttpExchangeError as failure:
                raise self._problems.error(failure.fault, reason=failure.reason) from None
            _log.debug("Vault: %s %s -> %d", method, path, answer.status)
            if not 300 <= answer.status < 400:
                return self._parse_answer(answer)
            url_path = self._resolve_redirect(url_path, answer)
        raise self._problems.error("redirect")

    def _resolve_redirect(self, url_path: str, answer: HttpAnswer) -> str:
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
            # Left as they are by urljoin() in a whole url; a server takes them out of the path.
            or {".", ".."} & set(unquote(parts.path).replace("\\", "/").split("/"))
            or not (url.isascii() and url.isprintable())
            or " " in url
        ):
            raise self._problems.error("redirect")
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def _parse_answer(self, answer: HttpAnswer) -> VaultAnswer:
        """Returns 200, 204, 400, 403 and 404 alone; SecretUnavailable for all else."""
        if answer.status == 204:
            return VaultAnswer(answer.status)
        content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            if answer.status >= 500:
                raise self._problems.error("gateway", status=answer.status)
            reason = f"it answered {answer.status}, but not with JSON"
            raise self._problems.error("foreign server", reason=reason)
        document, reason = None, "it is not a JSON object"
        try:
            document = parse_strict_json(answer.body)
        except OddJsonError as problem:
            reason = str(problem)
        if not isinstance(document, Mapping):
            raise self._problems.error("malformed answer", reason=reason)
        parsed = VaultAnswer(answer.status, document)
        # Every answer of Vault has `errors`, else `request_id`.
        has_errors = answer.status >= 400 and isinstance(document.get("errors"), list)
        if not has_errors and not isinstance(document.get("request_id"), str):
            reason = f"it answered {answer.status} with JSON that is not Vault's"
            raise self._problems.error("foreign server", reason=reason)
        if answer.status == 500 and parsed.says("not active", "standby"):
            raise self._problems.status_error(473)
        if answer.status not in _STATUSES_OF_CALLS:
            if answer.status == 503 and parsed.says("sealed"):
                raise self._problems.error("sealed")
            raise self._problems.status_error(answer.status)
        if answer.status == 404 and parsed.says("namespace not found", "no namespace"):
            raise self._problems.error("namespace")
        return parsed


# No message holds a token, a value or a word of the server: it may repeat what it was sent.
_STANDBY_HINT = (
    "Set vault.address of the target to the active node, or to a load balancer in front of it."
)
_STANDBY, _UNREACHABLE = "This Vault is a standby", "Vault cannot be reached"


class _Words(NamedTuple):
    summary: str
    detail: str
    hint: str


# By cause, a fault of the connection or a status: `{vault}` is the
# address, `{in_namespace}` the namespace if one is named, other `{names}` are of who raises it.
_CAUSES: Mapping[HttpFault | int | str, _Words] = {
    HttpFault.UNREACHABLE: _Words(
        _UNREACHABLE,
        "Vault at {vault} cannot be reached: {reason}",
        "Check vault.address of the target, and the network and proxy of this machine.",
    ),
    HttpFault.TIMEOUT: _Words(
        "Vault does not answer in time",
        "Vault at {vault} does not answer in time",
        "Try again. If the problem continues, ask the operator of this Vault whether it is "
        "overloaded.",
    ),
    HttpFault.UNTRUSTED: _Words(
        "The connection to Vault is not trusted",
        "Vault at {vault} cannot be trusted: {reason}",
        "Set vault.ca_file of the target to the file of this Vault's certificate authority. The "
        "certificate must contain the host name of vault.address.",
    ),
    HttpFault.BROKEN: _Words(
        "Vault's answer is incomplete",
        "the answer of {vault} cannot be used: {reason}",
        "Try again; check whether a proxy between here and Vault changes its answers.",
    ),
    HttpFault.TOO_LARGE: _Words(
        "Vault's answer is too large",
        "the answer of {vault} is not a secret: {reason}",
        "Check vault.address of the target: another server may answer there.",
    ),
    412: _Words(
        "Vault is not up to date yet",
        "the node at {vault} does not have the latest writes yet",
        "Try again in a moment, or set vault.address of the target to the active node.",
    ),
    429: _Words(
        "Vault accepts no more requests",
        "Vault at {vault} limits requests, or the node there is a standby",
        f"Try again later. {_STANDBY_HINT}",
    ),
    472: _Words(
        _STANDBY,
        "the Vault at {vault} is a secondary for disaster recovery, which serves no secrets",
        "Set vault.address of the target to the primary cluster.",
    ),
    473: _Words(
        _STANDBY, "the node at {vault} is a standby that does not serve this request", _STANDBY_HINT
    ),
    500: _Words(
        "Vault failed",
        "Vault at {vault} reported an internal error (500)",
        "Ask the operator of this Vault: its log has the reason.",
    ),
    501: _Words(
        "Vault is not initialised",
        "the Vault at {vault} is not initialised",
        "Check vault.address of the target; a new Vault is set up with `vault operator init`.",
    ),
    "gateway": _Words(
        _UNREACHABLE,
        "a proxy or load balancer in front of Vault at {vault} answered {status}",
        "Ask the operator whether this Vault and its load balancer are running.",
    ),
    "sealed": _Words(
        "Vault is sealed",
        "the Vault at {vault} is sealed",
        "Ask the operator of this Vault to unseal it (`vault operator unseal`), then run the "
        "command again.",
    ),
    "other status": _Words(
        "Vault refuses the request",
        "Vault at {vault} answered {status}",
        "Check vault.address and vault.namespace of the target.",
    ),
    "redirect": _Words(
        _STANDBY,
        "{vault} redirects to another server, as a standby does; the tool sends a token only to "
        "vault.address",
        _STANDBY_HINT,
    ),
    "foreign server": _Words(
        "This is not a Vault server",
        "the server at {vault} is not a Vault: {reason}",
        "Check vault.address of the target: it is the URL without /v1 and without /ui.",
    ),
    "malformed answer": _Words(
        "Vault's answer is malformed",
        "the answer of {vault} cannot be used: {reason}",
        "Check whether another server or a proxy answers there.",
    ),
    "namespace": _Words(
        "Vault has no such namespace",
        "Vault at {vault} has no namespace {namespace}",
        "Correct vault.namespace of the target: the full path, as `vault namespace list` and the "
        "address bar of its web page show it.",
    ),
    "denied": _Words(
        "Vault denies the read",
        "Vault does not let {login} read {path}{in_namespace}",
        'Its policy needs: path "{path.mount}/data/{path.name}" {{ capabilities = ["read"] '
        "}}. Check the path and vault.namespace, too: Vault also denies access to paths that do "
        "not exist.",
    ),
    "refused token": _Words(
        "Vault does not accept the token",
        "Vault at {vault} does not accept {login}{in_namespace}",
        "It may have expired, or belong to another Vault or namespace: log in again "
        "(`vault login`), or correct vault.token or vault.jwt of the target.",
    ),
    "no version": _Words(
        "Vault has no such version",
        "Vault has no version {version} of {path}, or no such secret{in_namespace}",
        "{hint}",
    ),
    "no secret": _Words(
        "Vault has no such secret",
        "there is no secret {path}{in_namespace}, or all its versions were removed",
        "{hint}",
    ),
    "destroyed": _Words(
        "A version of a secret is destroyed",
        "version {version} of {path} is destroyed",
        "Name another version in the manifest, or write the secret again.",
    ),
    # Which can be undone.
    "deleted": _Words(
        "A version of a secret is deleted",
        "version {version} of {path} is deleted",
        "`vault kv undelete -mount={path.mount} -versions={version} {path.name}` restores it. "
        "Otherwise name another version.",
    ),
    "no KV 2": _Words(
        "The mount is not KV version 2",
        "{path.mount} is a secrets engine that is not KV version 2",
        "The tool reads only KV version 2. `vault kv enable-versioning {path.mount}` upgrades a "
        "KV mount for everybody who uses it.",
    ),
    "no mount": _Words(
        "Vault has no such mount",
        "no secrets engine is mounted at {path.mount}{in_namespace}",
        "Check the first part of the path and vault.namespace. If the path of the mount has a "
        "slash, name the mount in vault.mounts of the target.",
    ),
    "other mount": _Words(
        "The mount has another path",
        "the secrets engine of {path} is not mounted at {path.mount}",
        "If the path of the mount has a slash, name the mount in vault.mounts of the target. "
        "`vault secrets list` lists the mounts.",
    ),
    "no key": _Words(
        "The secret has no such key",
        "{path} has no key {key}",
        "Correct `key` in the manifest; `vault kv get -mount={path.mount} {path.name}` lists its "
        "keys.",
    ),
    "failed login": _Words(
        "The login to Vault failed",
        "Vault did not give a token to {login}{in_namespace}: {reason}",
        "{hint}",
    ),
    "no login": _Words(
        "No login for Vault",
        "no source of a token for Vault is available: {reasons}",
        "Set one of them, or correct vault.token or vault.jwt of the target.",
    ),
}


class VaultProblems:
    """Builds the error for each cause; every one is a SecretUnavailable with one finding."""

    def __init__(self, settings: VaultSettings) -> None:
        namespace = settings.namespace
        self._names = {
            "vault": settings.address,
            "namespace": namespace or "(none is named)",
            "in_namespace": f" in namespace {namespace}" if namespace else "",
        }

    def error(self, cause: HttpFault | int | str, **names: object) -> SecretUnavailable:
        """The error of a cause, `names` put into its texts."""
        texts = (text.format(**self._names, **names) for text in _CAUSES[cause])
        return SecretUnavailable.from_summary(*texts)

    def status_error(self, status: int) -> SecretUnavailable:
        """An answer of Vault that says nothing of a single secret."""
        if status in _CAUSES:
            return self.error(status)
        return self.error("gateway" if status >= 500 else "other status", status=status)

    def missing_secret(self, path: VaultPath, version: int | None) -> SecretUnavailable:
        """404: there is no such secret, or it has no such version."""
        hint = f"`vault kv get -mount={path.mount} {path.name}` shows its content."
        if path.name.startswith(("data/", "metadata/")):
            hint = f"Write the path without `data/`: {path.mount}/{path.name.partition('/')[2]}."
        cause = "no secret" if version is None else "no version"
        return self.error(cause, path=path, version=version, hint=hint)

    def failed_login(self, login: VaultLogin, reason: str) -> SecretUnavailable:
        """Vault gives no token for the JWT."""
        hint = "Check vault.token of the target."
        if login.method == JWT_METHOD:
            hint = (
                "Check vault.jwt and vault.namespace of the target against "
                f"`vault read auth/{login.mount}/role/{login.role}`."
            )
        return self.error("failed login", login=login, reason=reason, hint=hint)
