"""Which requests are sent to Vault, which redirects are followed, and what its answers mean.

Written from Vault's HTTP API: KV version 2, JWT login, a token's look-up and revocation of itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import field
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from synapse_apply.model.coding.json_types import RequestBody
from synapse_apply.model.coding.server_json import OddJsonError, parse_strict_json
from synapse_apply.model.frozen import frozen
from synapse_apply.model.remote.http_exchange import (
    HttpAnswer,
    HttpExchangeError,
    HttpRequest,
    SendHttpRequest,
)
from synapse_apply.model.secrets.login import have_same_origin
from synapse_apply.model.values import Sensitive
from synapse_apply.secret_sources.vault.problems import VaultProblems
from synapse_apply.secret_sources.vault.settings import VaultPath, VaultSettings

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
