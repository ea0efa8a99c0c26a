"""API v1: `Token ` headers and page-numbered lists (synapse-api.md, section a)."""

from __future__ import annotations

from typing import Any

from synapse_apply.client.dialects.dialect import (
    Credentials,
    Dialect,
    ListPage,
    parse_link_query,
    parse_linked_page,
)


def build_auth_headers(credentials: Credentials) -> dict[str, str]:
    """One header for each credential that is set, its value preceded by `Token `."""
    tokens = {
        "Synapse-Access-Token": credentials.token,
        "Synapse-Tenant": credentials.tenant,
        "SYNAPSE-Agent": credentials.agent_token,
    }
    return {name: f"Token {value}" for name, value in tokens.items() if value}


def read_page(answer: Any) -> ListPage | None:
    """The page in an answer: `{count, next, previous, results}` or a plain list; else None."""
    return (
        ListPage(answer)
        if isinstance(answer, list)
        else parse_linked_page(answer, parse_link_query)
    )


DIALECT = Dialect(
    api_version="v1",
    prefix="",
    page_size_query=(("page_size", "100"),),
    page_number_param="page",
    read_page=read_page,
    unwrap=lambda answer: answer,
    build_auth_headers=build_auth_headers,
)
