"""Who asks, and whose signature opens a package."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from synapse_apply.emulator.core.backend import EXAMPLE_AGENTS, DataSetBackend
from synapse_apply.emulator.core.call import EmulatorRequest
from synapse_apply.emulator.core.fields import forbidden, refusal
from synapse_apply.emulator.core.store import ObjectStore

TOKEN_HEADERS = ("synapse-access-token", "authorization", "synapse-tenant", "synapse-agent")
_SCHEMES = ("token ", "bearer ")


def authenticate(backend: DataSetBackend, headers: Mapping[str, str]) -> str:
    """The tenant of a request with these headers. Raises ApiError: 401 or 403."""
    access_token, authorization, header_tenant, agent = (
        _strip_scheme(headers.get(name, "")) for name in TOKEN_HEADERS
    )
    token = access_token or authorization
    if token is None:
        return _authenticate_agent(backend, agent, header_tenant)
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


def _strip_scheme(value: str) -> str | None:
    """A header's value without `Token ` or `Bearer `; None if nothing is left."""
    text = value.strip()
    for scheme in _SCHEMES:
        if text.lower().startswith(scheme):
            text = text[len(scheme) :].strip()
    return text or None


LIFETIME = 3600  # seconds
_KEY_SETTING = "signing_key"  # its key in the table `about` of the data set
_DATE, _EXPIRES, _SIGNATURE = "X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature"
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"


def sign_url(request: EmulatorRequest, path: str) -> str:
    """The signed URL of a path, valid for `LIFETIME` seconds from now."""
    date = datetime.fromtimestamp(request.now(), UTC).strftime(_DATE_FORMAT)
    signature = _sign_with_key(request.store, path, date, str(LIFETIME))
    query = {_DATE: date, _EXPIRES: str(LIFETIME), _SIGNATURE: signature}
    return f"{request.root_url}{path}?{urlencode(query)}"


def require_signed_url(request: EmulatorRequest, path: str) -> None:
    """Raises ApiError: 403 for a wrong or expired signature, 400 if there is a token as well."""
    if any(name in request.headers for name in TOKEN_HEADERS):
        raise refusal(400, "Only one way to authenticate is allowed.")
    date, lifetime, signature = (
        request.query.get(name, "") for name in (_DATE, _EXPIRES, _SIGNATURE)
    )
    expected_signature = _sign_with_key(request.store, path, date, lifetime)
    if not hmac.compare_digest(expected_signature.encode(), signature.encode()):
        raise refusal(403, "The signature does not match.")
    # Parsed after the comparison: a genuine signature proves that these texts are ours.
    signed_at = datetime.strptime(date, _DATE_FORMAT).replace(tzinfo=UTC).timestamp()
    if request.now() > signed_at + int(lifetime):
        raise refusal(403, "The request has expired.")


def _sign_with_key(store: ObjectStore, path: str, date: str, lifetime: str) -> str:
    """The HMAC-SHA256 of path, date and lifetime in hex; creates the key at its first use."""
    key = store.find_setting(_KEY_SETTING)
    if key is None:
        key = secrets.token_hex(32)
        store.write_setting(_KEY_SETTING, key)
    text = f"{path}\n{date}\n{lifetime}"
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
