"""Whether an ID token is one that a provider of OpenID Connect issued for one log-in here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

# Of public keys alone: no secret that two know signs a token.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"]
_KEY_TYPES = ("RSA", "EC")
_LEEWAY_SECONDS = 60


def read_claims(
    token: Any, keys: Any, issuer: str, client_id: str, nonce: str, now: float
) -> Mapping[str, Any] | None:
    """The claims of a token (OpenID Connect Core 1.0, 3.1.3.7); None for one that is not valid.

    `token` and `keys` (a JWK Set, RFC 7517) are as the provider sent them. `now` is a wall-clock
    time.
    """
    rules: dict[str, Any] = {
        "iss": {"essential": True, "value": issuer},
        "aud": {"essential": True, "value": client_id},
    }
    try:
        usable = [key for key in keys["keys"] if key.get("kty") in _KEY_TYPES]
        decoded = jwt.decode(token, KeySet.import_key_set({"keys": usable}), _ALGORITHMS)
        known = {"nonce": nonce, "client_id": client_id}
        claims = CodeIDToken(decoded.claims, decoded.header, rules, known)
        claims.validate(int(now), _LEEWAY_SECONDS)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return dict(claims)
