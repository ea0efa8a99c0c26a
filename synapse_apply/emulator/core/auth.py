"""Who is asking: the token headers of every client generation."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from synapse_apply.emulator.core.backend import FIRST_AGENTS, Backend
from synapse_apply.emulator.core.errors import forbidden, unauthorized
from synapse_apply.emulator.core.facts import Fact, Mark

FACTS = (
    Fact("`Synapse-Access-Token` is read with and without the `Token ` prefix.", Mark.OBSERVED),
    Fact("`Authorization: Token X` and `Authorization: Bearer X` are read too.", Mark.OBSERVED),
    Fact("`Synapse-Tenant` is read with and without the `Token ` prefix.", Mark.OBSERVED),
    Fact("A token carries its tenant; a header that names another one is 403.", Mark.GUESSED),
    Fact(
        "`SYNAPSE-Agent` with a known agent's token is enough by itself, but for the two agents "
        "of the API page, whose tokens everybody knows; with `--any-token` theirs are, too.",
        Mark.GUESSED,
    ),
    Fact("No token: 401; a wrong one: 401, with `WWW-Authenticate: Token`.", Mark.GUESSED),
    Fact(
        "Other tenants' objects are 404; their plugin codes are taken all the same.", Mark.GUESSED
    ),
    Fact(
        "Started without a token, the server makes a random one, told in `endpoint.json` beside "
        "its data; with `--any-token` it accepts any. The tenant header decides then.",
        Mark.GUESSED,
    ),
)

TOKEN_HEADERS = ("synapse-access-token", "authorization", "synapse-tenant", "synapse-agent")
_SCHEMES = ("token ", "bearer ")


def authenticate(backend: Backend, headers: Mapping[str, str]) -> str:
    """The tenant of the request. Raises ApiError: 401, 403."""
    named = _bare(headers.get("synapse-tenant"))
    token = _bare(headers.get("synapse-access-token")) or _bare(headers.get("authorization"))
    if token is None:
        return _agent_tenant(backend, _bare(headers.get("synapse-agent")), named)
    settings = backend.settings
    if not settings.tokens:
        if not settings.any_token and not _is_same(token, settings.own_token):
            raise unauthorized("Invalid token.")
        return named or settings.tenant
    tenant = settings.tokens.get(token)
    if tenant is None:
        raise unauthorized("Invalid token.")
    if named is not None and named != tenant:
        raise forbidden("You do not have permission to perform this action.")
    return tenant


def _agent_tenant(backend: Backend, agent: str | None, named: str | None) -> str:
    if agent is None:
        raise unauthorized("Authentication credentials were not provided.")
    is_published = agent in FIRST_AGENTS and not backend.settings.any_token
    if is_published or backend.store.find("agent", agent) is None:
        raise unauthorized("Invalid token.")
    tenant = named or backend.settings.tenant
    known = backend.settings.tokens.values()
    if known and tenant not in known:
        raise forbidden("You do not have permission to perform this action.")
    return tenant


def _is_same(given: str, token: str) -> bool:
    """Compared in a time that tells nothing of the token."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _bare(value: str | None) -> str | None:
    if value is None:
        return None
    text = value.strip()
    for scheme in _SCHEMES:
        if text.lower().startswith(scheme):
            text = text[len(scheme) :].strip()
    return text or None
