"""How a provider of OpenID Connect says who somebody is: the authorization code flow with PKCE.

OpenID Connect Core 1.0, 3.1, and RFC 7636. No redirect of the provider's own endpoints is followed,
and no word of its answers is shown.
"""

from __future__ import annotations

import hmac
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from synapse_apply.controller.outbox.delivery import Receiver, UndeliveredError, parse_json_answer
from synapse_apply.controller.rules.access import OIDC_PREFIX, Person
from synapse_apply.controller.settings import OidcAccess
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive

CALLBACK_PATH = "/login/oidc/callback"
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class ProviderError(Exception):
    """Nobody is logged in; the text says why, as a sentence without words of the provider."""


@frozen
class Attempt:
    """One log-in of one browser; `secret` is random, and known to that browser alone."""

    secret: str

    def derive(self, purpose: str) -> str:
        """A value that proves an answer to be one to this log-in: `state`, `nonce`, `verifier`."""
        return hmac.new(self.secret.encode(), purpose.encode(), sha256).hexdigest()


def check_provider(oidc: OidcAccess) -> None:
    """Raise InputError where the provider does not answer as `access.oidc` describes it."""
    try:
        Provider(oidc).read_endpoints()
    except ProviderError as problem:
        raise InputError.from_summary(
            "Nobody can log in through the provider",
            str(problem),
            "Compare access.oidc.issuer with `issuer` of the provider's own configuration.",
            position=oidc.client_secret.position,
        ) from None


class Provider:
    """The provider that `access.oidc` names; safe for many threads."""

    def __init__(self, oidc: OidcAccess) -> None:
        """InputError for an issuer that cannot be asked: plain http is for loopback alone."""
        self._oidc = oidc
        self._build_receiver(oidc.issuer)

    def build_login_url(self, attempt: Attempt, public_url: str) -> str:
        """Where the browser logs in; ProviderError where the provider does not say."""
        challenge = sha256(attempt.derive("verifier").encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self._oidc.client_id,
            "redirect_uri": public_url + CALLBACK_PATH,
            "scope": " ".join(dict.fromkeys(("openid", *self._oidc.scopes))),
            "state": attempt.derive("state"),
            "nonce": attempt.derive("nonce"),
            "code_challenge": urlsafe_b64encode(challenge).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        endpoint = self.read_endpoints()["authorization_endpoint"]
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"

    def identify(
        self, attempt: Attempt, code: str, public_url: str, secret: Sensitive, now: float
    ) -> Person:
        """Who the code of a log-in is for; ProviderError where that is not proven."""
        endpoints = self.read_endpoints()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": public_url + CALLBACK_PATH,
            "code_verifier": attempt.derive("verifier"),
        }
        # RFC 6749, 2.3.1: both parts are encoded as in a form first.
        credentials = f"{quote(self._oidc.client_id, '')}:{quote(str(secret.reveal()), '')}"
        headers = {
            "Authorization": f"Basic {b64encode(credentials.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        body = urlencode(form).encode()
        tokens = self._ask(endpoints["token_endpoint"], "POST", headers, body)
        keys = self._ask(endpoints["jwks_uri"])
        # Imported at a log-in alone: it takes longer than all else of a page.
        from synapse_apply.controller.id_token import read_claims  # noqa: PLC0415

        nonce = attempt.derive("nonce")
        claims = read_claims(
            tokens.get("id_token"), keys, self._oidc.issuer, self._oidc.client_id, nonce, now
        )
        if claims is None:
            raise ProviderError("The ID token is not valid for this log-in.")
        name = claims.get(self._oidc.user_claim)
        if self._oidc.user_claim == "email" and claims.get("email_verified") is not True:
            raise ProviderError("The provider does not confirm that the email address is verified.")
        if not isinstance(name, str) or not name:
            raise ProviderError("The ID token lacks the claim that `access.oidc.user_claim` sets.")
        groups = claims.get(self._oidc.groups_claim)
        texts = groups if isinstance(groups, list) else []
        return Person(f"{OIDC_PREFIX}{name}", frozenset(g for g in texts if isinstance(g, str)))

    def read_endpoints(self) -> Mapping[str, str]:
        """The endpoints (OpenID Connect Discovery 1.0, 4)."""
        issuer = self._oidc.issuer
        found = self._ask(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != issuer:
            raise ProviderError("The provider's `issuer` differs from the one in `access.oidc`.")
        if not all(isinstance(found.get(name), str) for name in _ENDPOINTS):
            raise ProviderError("The provider does not list its endpoints.")
        try:
            for name in _ENDPOINTS:
                self._build_receiver(found[name])
        except InputError:
            raise ProviderError("The provider lists an endpoint that cannot be used.") from None
        return {name: found[name] for name in _ENDPOINTS}

    def _ask(
        self,
        url: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> dict[str, Any]:
        try:
            answer = self._build_receiver(url).send_json_once(method, "", headers or {}, body)
        except UndeliveredError as problem:
            finding = problem.result.finding
            reason = finding.detail if finding else "no answer"
        else:
            document = parse_json_answer(answer) if answer.status == 200 else None
            if isinstance(document, dict):
                return document
            reason = f"status {answer.status}" if answer.status != 200 else "the answer is not JSON"
        raise ProviderError(f"The provider did not answer as expected: {reason}.")

    def _build_receiver(self, url: str) -> Receiver:
        return Receiver(
            "The provider", Sensitive(url), what_is_named="The URL of the OpenID Connect provider"
        )
