"""Which tenant a request belongs to, by the token headers of all client generations."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from synapse_apply.emulator.core.backend import EXAMPLE_AGENTS, DataSetBackend
from synapse_apply.emulator.core.errors import build_forbidden_error, build_unauthorized_error
from synapse_apply.emulator.core.facts import Fact, FactSource

FACTS = (
    Fact(
        "`Synapse-Access-Token` is read with and without the `Token ` prefix.", FactSource.OBSERVED
    ),
    Fact(
        "`Authorization: Token X` and `Authorization: Bearer X` are read too.", FactSource.OBSERVED
    ),
    Fact("`Synapse-Tenant` is read with and without the `Token ` prefix.", FactSource.OBSERVED),
    Fact("A token carries its tenant; a header that names another one is 403.", FactSource.GUESSED),
    Fact(
        "`SYNAPSE-Agent` with a known agent's token is enough by itself, but for the two agents "
        "of the API page, whose tokens everybody knows; with `--any-token` theirs are, too.",
        FactSource.GUESSED,
    ),
    Fact("No token: 401; a wrong one: 401, with `WWW-Authenticate: Token`.", FactSource.GUESSED),
    Fact(
        "Other tenants' objects are 404; their plugin codes are taken all the same.",
        FactSource.GUESSED,
    ),
    Fact(
        "Started without a token, the server makes a random one, told in `endpoint.json` beside "
        "its data; with `--any-token` it accepts any. The tenant header decides then.",
        FactSource.GUESSED,
    ),
)

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
        if not settings.any_token and not _is_same_token(token, settings.own_token):
            raise build_unauthorized_error("Invalid token.")
        return header_tenant or settings.tenant
    tenant = settings.tokens.get(token)
    if tenant is None:
        raise build_unauthorized_error("Invalid token.")
    if header_tenant is not None and header_tenant != tenant:
        raise build_forbidden_error("You do not have permission to perform this action.")
    return tenant


def _authenticate_agent(
    backend: DataSetBackend, agent: str | None, header_tenant: str | None
) -> str:
    """The tenant of a request with only an agent's token. Raises ApiError: 401 or 403."""
    if agent is None:
        raise build_unauthorized_error("Authentication credentials were not provided.")
    # Everybody knows these two tokens, so that they count only where any token does.
    is_published = agent in EXAMPLE_AGENTS and not backend.settings.any_token
    if is_published or backend.store.find_by_key_of_any_tenant("agent", agent) is None:
        raise build_unauthorized_error("Invalid token.")
    tenant = header_tenant or backend.settings.tenant
    known_tenants = backend.settings.tokens.values()
    if known_tenants and tenant not in known_tenants:
        raise build_forbidden_error("You do not have permission to perform this action.")
    return tenant


def _is_same_token(sent_token: str, token: str) -> bool:
    """Whether two tokens are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(sent_token.encode("utf-8", "replace"), token.encode())


def _strip_scheme(value: str | None) -> str | None:
    """A header's value without `Token ` or `Bearer `; None if nothing is left."""
    if value is None:
        return None
    text = value.strip()
    for scheme in _SCHEMES:
        if text.lower().startswith(scheme):
            text = text[len(scheme) :].strip()
    return text or None
