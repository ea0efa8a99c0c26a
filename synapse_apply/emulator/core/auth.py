"""Who asks, and whose signature opens a package."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from synapse_apply.emulator.core.backend import EXAMPLE_AGENTS, DataSetBackend
from synapse_apply.emulator.core.fields import forbidden, refusal

TOKEN_HEADERS = ("synapse-access-token", "authorization", "synapse-tenant", "synapse-agent")
_SCHEMES = ("token ", "bearer ")


def authenticate(backend: DataSetBackend, headers: Mapping[str, str]) -> str:
    """The tenant of a request with these headers. Raises ApiError: 401 or 403."""
    header_tenant = _strip_scheme(headers.get("synapse-tenant"))
    token = _strip_scheme(headers.get("synapse-access-token")) or _strip_scheme(
        headers.get("authorization")
    )
    if token is None:
        return _authenticate_agent(
            backend, _strip_scheme(headers.get("synapse-agent")), header_tenant
        )
    settings = backend.settings
    # Without configured tokens a token belongs to no tenant: the tenant header decides.
    if not settings.tokens:
        sent_token, own_token = token.encode("utf-8", "replace"), settings.token.encode()
        # In a time that does not depend on where they differ.
        if not settings.any_token and not hmac.compare_digest(sent_token, own_token):
            raise refusal(401, "Invalid token.")
        return header_tenant or settings.tenant
    tenant = settings.tokens.get(token)
    if tenant is None:
        raise refusal(401, "Invalid token.")
    if header_tenant is not None and header_tenant != tenant:
        raise forbidden()
    return tenant


def _authenticate_agent(
    backend: DataSetBackend, agent: str | None, header_tenant: str | None
) -> str:
    """The tenant of a request with only an agent's token. Raises ApiError: 401 or 403."""
    if agent is None:
        raise refusal(401, "Authentication credentials were not provided.")
    # Everybody knows these two tokens, so that they count only where any token does.
    is_published = agent in EXAMPLE_AGENTS and not backend.settings.any_token
    if is_published or backend.store.find_by_key_of_any_tenant("agent", agent) is None:
        raise refusal(401, "Invalid token.")
    tenant = header_tenant or backend.settings.tenant
    known_tenants = backend.settings.tokens.values()
    if known_tenants and tenant not in known_tenants:
        raise forbidden()
    return tenant


def _strip_scheme(value: str | None) -> str | None:
    """A header's value without `Token ` or `Bearer `; None if nothing is left."""
    if value is None:
        return None
    text = value.strip()
    for scheme in _SCHEMES:
        if text.lower().startswith(scheme):
            text = text[len(scheme) :].strip()
    return text or None


LIFETIME = 3600  # seconds
_KEY_SETTING = "signing_key"  # its key in the table `about` of the data set
_DATE, _EXPIRES, _SIGNATURE = "X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature"
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"


def sign_url(backend: DataSetBackend, root: str, path: str) -> str:
    """The signed URL of a path, valid for `LIFETIME` seconds from now."""
    date = datetime.fromtimestamp(backend.clock.now(), UTC).strftime(_DATE_FORMAT)
    query = {
        _DATE: date,
        _EXPIRES: str(LIFETIME),
        _SIGNATURE: _sign_with_key(backend, path, date, str(LIFETIME)),
    }
    return f"{root}{path}?{urlencode(query)}"


def require_signed_url(
    backend: DataSetBackend, path: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> None:
    """Raises ApiError: 403 for a wrong or expired signature, 400 if there is a token as well."""
    if any(name in headers for name in TOKEN_HEADERS):
        raise refusal(400, "Only one way to authenticate is allowed.")
    date, lifetime = query.get(_DATE, ""), query.get(_EXPIRES, "")
    expected_signature = _sign_with_key(backend, path, date, lifetime)
    if not hmac.compare_digest(expected_signature.encode(), query.get(_SIGNATURE, "").encode()):
        raise refusal(403, "The signature does not match.")
    # Parsed after the comparison: a genuine signature proves that these texts are ours.
    signed_at = datetime.strptime(date, _DATE_FORMAT).replace(tzinfo=UTC).timestamp()
    if backend.clock.now() > signed_at + int(lifetime):
        raise refusal(403, "The request has expired.")


def _sign_with_key(backend: DataSetBackend, path: str, date: str, lifetime: str) -> str:
    """The HMAC-SHA256 of path, date and lifetime in hex; creates the key at its first use."""
    key = backend.store.find_setting(_KEY_SETTING)
    if key is None:
        key = secrets.token_hex(32)
        backend.store.write_setting(_KEY_SETTING, key)
    text = f"{path}\n{date}\n{lifetime}"
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
