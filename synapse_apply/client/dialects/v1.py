"""API v1: `Token ` headers and page-numbered lists (synapse-api.md, section a)."""

from __future__ import annotations

from typing import Any

from synapse_apply.client.dialects.dialect import (
    Credentials,
    Dialect,
    Page,
    page_with_links,
    query_of,
)


def auth_headers(who: Credentials) -> dict[str, str]:
    """The headers that say who calls; what is not given is not sent."""
    forms = {
        "Synapse-Access-Token": who.token,
        "Synapse-Tenant": who.tenant,
        "SYNAPSE-Agent": who.agent_token,
    }
    return {name: f"Token {value}" for name, value in forms.items() if value}


def read_page(answer: Any) -> Page | None:
    """The page in an answer: `{count, next, previous, results}` or a bare list; else None."""
    return Page(answer) if isinstance(answer, list) else page_with_links(answer, query_of)


DIALECT = Dialect(
    api="v1",
    prefix="",
    page_size=(("page_size", "100"),),
    numbered="page",
    read_page=read_page,
    unwrap=lambda answer: answer,
    auth_headers=auth_headers,
)
