"""When Vault is asked: one login and one read of each version in a run, for all threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any, NamedTuple

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.remote import SendHttpRequest
from synapse_apply.model.secrets.secret_rules import SettingOffer
from synapse_apply.model.values import SecretRef, Sensitive
from synapse_apply.secret_sources.source import RunMemo
from synapse_apply.secret_sources.vault.api import VaultAnswer, VaultApi, VaultProblems
from synapse_apply.secret_sources.vault.source import (
    JWT_METHOD,
    VaultLogin,
    VaultPath,
    VaultSettings,
)

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
