"""API v1: `Token ` headers and page-numbered lists (synapse-api.md, section a)."""

from __future__ import annotations

from typing import Any

from synapse_apply.client.dialects.dialect import (
    Dialect,
    ListPage,
    parse_query_of_link,
    parse_results_page,
)


def parse_page_or_none(answer: Any) -> ListPage | None:
    """The page in an answer: `{count, next, previous, results}` or a plain list; else None."""
    return (
        ListPage(answer)
        if isinstance(answer, list)
        else parse_results_page(answer, parse_query_of_link)
    )


DIALECT = Dialect(
    api_version="v1",
    prefix="",
    has_dry_run=False,
    page_size_query=(("page_size", "100"),),
    page_number_param="page",
    parse_page_or_none=parse_page_or_none,
    unwrap=lambda answer: answer,
    auth_headers={
        "token": "Synapse-Access-Token",
        "tenant": "Synapse-Tenant",
        "agent_token": "SYNAPSE-Agent",
    },
    auth_prefix="Token ",
)
