"""API v1: `Token ` headers and page-numbered lists (synapse-api.md, section a)."""

from __future__ import annotations

from typing import Any

from synapse_apply.client.dialects.dialect import (
    Credentials,
    Dialect,
    ListPage,
    parse_query_of_link,
    parse_results_page_or_none,
)


def build_auth_headers(credentials: Credentials) -> dict[str, str]:
    """One header for each credential that is set, its value preceded by `Token `."""
    tokens = {
        "Synapse-Access-Token": credentials.token,
        "Synapse-Tenant": credentials.tenant,
        "SYNAPSE-Agent": credentials.agent_token,
    }
    return {name: f"Token {value}" for name, value in tokens.items() if value}


def parse_page_or_none(answer: Any) -> ListPage | None:
    """The page in an answer: `{count, next, previous, results}` or a plain list; else None."""
    return (
        ListPage(answer)
        if isinstance(answer, list)
        else parse_results_page_or_none(answer, parse_query_of_link)
    )


DIALECT = Dialect(
    api_version="v1",
    prefix="",
    has_dry_run=False,
    page_size_query=(("page_size", "100"),),
    page_number_param="page",
    parse_page_or_none=parse_page_or_none,
    unwrap=lambda answer: answer,
    build_auth_headers=build_auth_headers,
)
