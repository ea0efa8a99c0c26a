"""Who is asking: the token headers of every client generation."""

from __future__ import annotations

from collections.abc import Mapping

from synapse_apply.emulator.core.backend import Backend
from synapse_apply.emulator.core.errors import forbidden, unauthorized
from synapse_apply.emulator.core.facts import Fact, Mark

FACTS = (
    Fact("`Synapse-Access-Token` is read with and without the `Token ` prefix.", Mark.OBSERVED),
    Fact("`Authorization: Token X` and `Authorization: Bearer X` are read too.", Mark.OBSERVED),
    Fact("`Synapse-Tenant` is read with and without the `Token ` prefix.", Mark.OBSERVED),
    Fact("A token carries its tenant; a header that names another one is 403.", Mark.GUESSED),
    Fact("`SYNAPSE-Agent` with a known agent's token is enough by itself.", Mark.GUESSED),
    Fact("No token: 401; a wrong one: 401, with `WWW-Authenticate: Token`.", Mark.GUESSED),
    Fact(
        "Other tenants' objects are 404; their plugin codes are taken all the same.", Mark.GUESSED
    ),
    Fact(
        "Started without a token, the server accepts any; the tenant header decides.", Mark.GUESSED
    ),
)

_SCHEMES = ("token ", "bearer ")


def authenticate(backend: Backend, headers: Mapping[str, str]) -> str:
    """The tenant of the request. Raises ApiError: 401, 403."""
    named = _bare(headers.get("synapse-tenant"))
    token = _bare(headers.get("synapse-access-token")) or _bare(headers.get("authorization"))
    if token is None:
        return _agent_tenant(backend, _bare(headers.get("synapse-agent")), named)
    if not backend.settings.tokens:
        return named or backend.settings.tenant
    tenant = backend.settings.tokens.get(token)
    if tenant is None:
        raise unauthorized("Invalid token.")
    if named is not None and named != tenant:
        raise forbidden("You do not have permission to perform this action.")
    return tenant


def _agent_tenant(backend: Backend, agent: str | None, named: str | None) -> str:
    if agent is None:
        raise unauthorized("Authentication credentials were not provided.")
    if backend.store.find("agent", agent) is None:
        raise unauthorized("Invalid token.")
    tenant = named or backend.settings.tenant
    known = backend.settings.tokens.values()
    if known and tenant not in known:
        raise forbidden("You do not have permission to perform this action.")
    return tenant


def _bare(value: str | None) -> str | None:
    if value is None:
        return None
    text = value.strip()
    for scheme in _SCHEMES:
        if text.lower().startswith(scheme):
            text = text[len(scheme) :].strip()
    return text or None
