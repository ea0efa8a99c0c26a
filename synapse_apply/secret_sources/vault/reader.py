"""When Vault is asked, and how: one login and one read of each version in a run, for all threads.

Written from Vault's HTTP API: KV version 2, JWT login, a token's look-up and revocation of itself.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field
from threading import RLock
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

from synapse_apply.model.diagnostic import Diagnostic
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
from synapse_apply.model.secrets.secret_rules import SettingOffer, have_same_origin
from synapse_apply.model.values import SecretRef, Sensitive
from synapse_apply.secret_sources.source import RunMemo
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
    "Set the target's vault.address to the active node, or to a load balancer in front of it."
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
        "Check the target's vault.address, and this machine's network and proxy.",
    ),
    HttpFault.TIMEOUT: _Words(
        "Vault does not answer in time",
        "Vault at {vault} does not answer in time",
        "Try again. If the problem continues, ask this Vault's operator whether it is overloaded.",
    ),
    HttpFault.UNTRUSTED: _Words(
        "The connection to Vault is not trusted",
        "Vault at {vault} cannot be trusted: {reason}",
        "Set the target's vault.ca_file to the file of this Vault's certificate authority. The "
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
        "Check the target's vault.address: another server may answer there.",
    ),
    412: _Words(
        "Vault is not up to date yet",
        "the node at {vault} does not have the latest writes yet",
        "Try again in a moment, or set the target's vault.address to the active node.",
    ),
    429: _Words(
        "Vault accepts no more requests",
        "Vault at {vault} limits requests, or the node there is a standby",
        f"Try again later. {_STANDBY_HINT}",
    ),
    472: _Words(
        _STANDBY,
        "the Vault at {vault} is a secondary for disaster recovery, which serves no secrets",
        "Set the target's vault.address to the primary cluster.",
    ),
    473: _Words(
        _STANDBY, "the node at {vault} is a standby that does not serve this request", _STANDBY_HINT
    ),
    500: _Words(
        "Vault failed",
        "Vault at {vault} reported an internal error (500)",
        "Ask this Vault's operator: its log has the reason.",
    ),
    501: _Words(
        "Vault is not initialised",
        "the Vault at {vault} is not initialised",
        "Check the target's vault.address; a new Vault is set up with `vault operator init`.",
    ),
    "gateway": _Words(
        _UNREACHABLE,
        "a proxy or load balancer in front of Vault at {vault} answered {status}",
        "Ask the operator whether this Vault and its load balancer are running.",
    ),
    "sealed": _Words(
        "Vault is sealed",
        "the Vault at {vault} is sealed",
        "Ask this Vault's operator to unseal it (`vault operator unseal`), then run the "
        "command again.",
    ),
    "other status": _Words(
        "Vault refuses the request",
        "Vault at {vault} answered {status}",
        "Check the target's vault.address and vault.namespace.",
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
        "Check the target's vault.address: it is the URL without /v1 and without /ui.",
    ),
    "malformed answer": _Words(
        "Vault's answer is malformed",
        "the answer of {vault} cannot be used: {reason}",
        "Check whether another server or a proxy answers there.",
    ),
    "namespace": _Words(
        "Vault has no such namespace",
        "Vault at {vault} has no namespace {namespace}",
        "Correct the target's vault.namespace: the full path, as `vault namespace list` and the "
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
        "(`vault login`), or correct the target's vault.token or vault.jwt.",
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
        "Use a different version in the manifest, or write the secret again.",
    ),
    # Which can be undone.
    "deleted": _Words(
        "A version of a secret is deleted",
        "version {version} of {path} is deleted",
        "`vault kv undelete -mount={path.mount} -versions={version} {path.name}` restores it. "
        "Otherwise use a different version.",
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
        "slash, name the mount in the target's vault.mounts.",
    ),
    "other mount": _Words(
        "The mount has a different path",
        "the secrets engine of {path} is not mounted at {path.mount}",
        "If the path of the mount has a slash, name the mount in the target's vault.mounts. "
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
        "Vault issued no token to {login}{in_namespace}: {reason}",
        "{hint}",
    ),
    "no login": _Words(
        "No login for Vault",
        "no source of a token for Vault is available: {reasons}",
        "Set one of them, or correct the target's vault.token or vault.jwt.",
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
        hint = "Check the target's vault.token."
        if login.method == JWT_METHOD:
            hint = (
                "Check the target's vault.jwt and vault.namespace against "
                f"`vault read auth/{login.mount}/role/{login.role}`."
            )
        return self.error("failed login", login=login, reason=reason, hint=hint)


_BATCH_TOKEN = "batch"  # noqa: S105 - a kind of token, which cannot be revoked
_MAX_TOKEN_LENGTH = 16 * 1024
_LOOK_UP, _REVOKE = "auth/token/lookup-self", "auth/token/revoke-self"
# A run that ends does not wait long for a token that expires by itself.
_REVOKE_SECONDS = 5.0

# What a refusal of a JWT login says, and how it is told: Vault's own words may quote the JWT.
_JWT_REFUSALS = (
    (("could not be found", "unknown role"), "it has no such role"),
    (("audience",), "the role does not accept the audience (aud) of the JWT"),
    (("expired", "(exp)", "(nbf)", "(iat)"), "the JWT has expired, or is not valid yet"),
    (("issuer",), "the JWT is from another issuer (iss) than the mount expects"),
    (("subject", "claim", "not match"), "the claims of the JWT do not match the role"),
    (
        ("signature", "verifying", "malformed"),
        "the JWT is not signed by a key that the mount knows",
    ),
    (("missing token", "missing jwt"), "the JWT is empty"),
)


@frozen
class LoginCheck:
    """A login that Vault accepts.

    `seconds` is how long the call took; `remaining_seconds` how long the token lasts, None where
    it has no end.
    """

    login: VaultLogin
    seconds: float
    remaining_seconds: int | None


class _VaultToken(NamedTuple):
    """A token, and whether it was issued to this run, which then ends it where Vault can."""

    value: Sensitive
    login: VaultLogin
    is_issued_here: bool = False
    is_revocable: bool = False
    remaining_seconds: int | None = None


class VaultReader:
    """Reads secrets of one target's Vault; safe for many threads.

    Nothing is sent before the first secret is asked for. What was read stays the same for a run,
    and so does a failure: a Vault that did not answer is not waited for again.
    """

    def __init__(
        self,
        settings: VaultSettings,
        send: SendHttpRequest,
        resolve_credential: Callable[[SecretRef], Sensitive],
    ) -> None:
        """`resolve_credential` reads a token or JWT of the project file; SecretUnavailable."""
        self._settings = settings
        self._api = VaultApi(settings, send)
        self._problems = VaultProblems(settings)
        self._resolve_credential = resolve_credential
        self._lock = RLock()
        self._token: _VaultToken | None = None
        self._failure: tuple[Diagnostic, ...] = ()
        self._secrets = RunMemo()

    def require_value_of_key(self, path: str, key: str, version: int | None = None) -> Sensitive:
        """The JSON value of one key; SecretUnavailable with the cause and the way out.

        Whether manifests may name the path is not checked here.
        """
        vault_path = self._settings.split_path_at_mount(path)
        # A failure is kept too: a thousand references must not be a thousand refused requests,
        # which some servers answer by locking the login.
        with self._lock:
            read: Sensitive = self._secrets.get_or_make(
                (str(vault_path), version),
                lambda: Sensitive(self._read_version(vault_path, version)),
            )
        secret: Mapping[str, Any] = read.reveal()
        if key not in secret:
            # Names of other keys are not shown: they are words of the server.
            raise self._problems.error("no key", path=vault_path, key=key)
        return Sensitive(secret[key])

    def list_login_offers(self) -> tuple[SettingOffer, ...]:
        """The logins of the target, and why one is not used; asks nobody."""
        return self._choose_login()[2]

    def log_in_and_check_token(self) -> LoginCheck:
        """Log in, or look the token up, without reading any secret; SecretUnavailable."""
        with self._lock:
            started_at = time.monotonic()
            token = self._require_token_of_run()
            # A token that was handed to us is only known to be good when Vault is asked.
            remaining_seconds = token.remaining_seconds
            if not token.is_issued_here:
                answer = self._api.send_call("GET", _LOOK_UP, token.value)
                if not answer.is_success:
                    raise self._problems.error("refused token", login=token.login)
                remaining_seconds = _positive_integer(answer.nested("data"), "ttl")
            seconds = time.monotonic() - started_at
            return LoginCheck(token.login, seconds, remaining_seconds)

    def close(self) -> None:
        """Revoke a token that was got by a login here; one that Vault does not revoke expires."""
        with self._lock:
            # First forgotten: a second `close` revokes nothing, and a late read logs in anew.
            token, self._token = self._token, None
            if token is not None and token.is_revocable:
                with suppress(SecretUnavailable):
                    self._api.send_call("POST", _REVOKE, token.value, max_seconds=_REVOKE_SECONDS)

    def _read_version(self, path: VaultPath, version: int | None) -> Mapping[str, Any]:
        token = self._require_token_of_run()
        query = f"?version={version}" if version is not None else ""
        with self._remember_failure():
            answer = self._api.send_call(
                "GET", f"{path.mount}/data/{path.name}", token.value, query=query
            )
        if answer.status == 403:
            cause = "refused token" if self._is_token_refused(answer, token) else "denied"
            raise self._problems.error(cause, path=path, login=token.login)
        metadata, secret = answer.nested("data", "metadata"), answer.nested("data", "data")
        read_version = _positive_integer(metadata, "version")
        # A 404 with metadata is of a version that is gone.
        if metadata is None or read_version is None or (secret and not answer.is_success):
            raise self._absent_secret(answer, path, version, token)
        if version not in {None, read_version}:
            # A server that does not know `version` answers the newest one, which was not asked for.
            reason = f"it does not contain the requested version {version} of {path}"
            raise self._problems.error("malformed answer", reason=reason)
        if secret is None:
            cause = "destroyed" if metadata.get("destroyed") is True else "deleted"
            raise self._problems.error(cause, path=path, version=read_version)
        return secret

    # KV version 1 and a missing mount answer as a missing secret does: what is mounted there tells
    # them apart, where the token may ask for it.
    def _absent_secret(
        self, answer: VaultAnswer, path: VaultPath, version: int | None, token: _VaultToken
    ) -> SecretUnavailable:
        # KV version 1 has the values where version 2 has `data` and `metadata`.
        if answer.is_success:
            return self._problems.error("no KV 2", path=path)
        if answer.status == 400:
            return self._problems.status_error(answer.status)
        answered = self._api.send_call("GET", f"sys/internal/ui/mounts/{path}", token.value)
        mount = answered.nested("data") or {}
        mounted_at, options = mount.get("path"), mount.get("options")
        kv_version = options.get("version") if isinstance(options, Mapping) else None
        if isinstance(mounted_at, str) and mounted_at.strip("/") != path.mount:
            return self._problems.error("other mount", path=path)
        if mount and (mount.get("type") != "kv" or kv_version != "2"):
            return self._problems.error("no KV 2", path=path)
        if answer.says("no handler for route"):
            return self._problems.error("no mount", path=path)
        return self._problems.missing_secret(path, version)

    def _is_token_refused(self, denial: VaultAnswer, token: _VaultToken) -> bool:
        """Whether a 403 is about the token itself: Vault says the same where no policy allows."""
        if token.is_issued_here:
            return False
        if denial.says("invalid token", "bad token"):
            return True
        return self._api.send_call("GET", _LOOK_UP, token.value).status == 403

    def _require_token_of_run(self) -> _VaultToken:
        """The token of this run, got by one login; SecretUnavailable."""
        if self._token is None:
            with self._remember_failure():
                self._token = self._log_in()
        return self._token

    def _choose_login(self) -> tuple[VaultLogin | None, Sensitive, tuple[SettingOffer, ...]]:
        """The first login that has a credential, None where none has one; and all offers."""
        offers: list[SettingOffer] = []
        chosen: tuple[VaultLogin, Sensitive] | None = None
        for login in self._settings.logins:
            if chosen is not None:
                offers.append(SettingOffer(str(login), "is not needed"))
                continue
            try:
                chosen = login, self._resolve_credential(login.credential)
            except SecretUnavailable as missing:
                # The reason names the variable or file itself.
                offers.append(SettingOffer(f"{login}:", missing.diagnostics[0].detail))
            else:
                offers.append(SettingOffer(str(login)))
        login_found, credential = chosen or (None, Sensitive(""))
        return login_found, credential, tuple(offers)

    def _log_in(self) -> _VaultToken:
        login, credential, offers = self._choose_login()
        if login is None:
            raise self._problems.error("no login", reasons="; ".join(map(str, offers)))
        text = str(credential.reveal()).strip()
        # A file that ends in two lines, or a whole JSON answer, would be sent as a header.
        if not _is_header_text(text):
            reason = (
                f"{login.credential.name} is not a {login.method}: it has blanks or line breaks"
            )
            raise self._problems.failed_login(login, reason)
        if login.method != JWT_METHOD:
            return _VaultToken(Sensitive(text), login)
        body = {"role": login.role, "jwt": text}
        answer = self._api.send_call("POST", f"auth/{login.mount}/login", None, body)
        if not answer.is_success:
            reason = _explain_jwt_refusal(answer, login)
            raise self._problems.failed_login(login, reason)
        auth = answer.nested("auth") or {}
        token = auth.get("client_token")
        if not isinstance(token, str) or not _is_header_text(token):
            reason = "the answer has no token; a second factor is not supported"
            raise self._problems.failed_login(login, reason)
        return _VaultToken(
            Sensitive(token),
            login,
            is_issued_here=True,
            is_revocable=auth.get("token_type") != _BATCH_TOKEN,
            remaining_seconds=_positive_integer(auth, "lease_duration"),
        )

    @contextmanager
    def _remember_failure(self) -> Iterator[None]:
        """Remember a failure of what is done inside for the run, and raise it at once next time."""
        if self._failure:
            raise SecretUnavailable(*self._failure)
        try:
            yield
        except SecretUnavailable as failure:
            self._failure = failure.diagnostics
            raise


def _explain_jwt_refusal(answer: VaultAnswer, login: VaultLogin) -> str:
    """Why Vault gives no token for a JWT, as a phrase in words of our own."""
    if answer.status in {403, 404}:
        return f"no JWT login is mounted at auth/{login.mount}, or it is not allowed"
    for phrases, reason in _JWT_REFUSALS:
        if answer.says(*phrases):
            return reason
    return f"it answered {answer.status}; its audit log has the reason"


def _is_header_text(text: str) -> bool:
    """Whether a text can be sent in a header: else a line break in it would begin another one."""
    return (
        0 < len(text) <= _MAX_TOKEN_LENGTH
        and text.isascii()
        and text.isprintable()
        and " " not in text
    )


def _positive_integer(values: Mapping[str, Any] | None, name: str) -> int | None:
    value = values.get(name) if values is not None else None
    return value if type(value) is int and value > 0 else None
