"""API v2: bare header values, envelopes, lists by cursor (synapse-api.md, section b)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.client.dialects.dialect import (
    Dialect,
    ListPage,
    Query,
    parse_query_of_link,
    parse_results_page,
)
from synapse_apply.model.json_types import JsonValue
from synapse_apply.model.secrets.secret_marks import unmask_value

_CURSOR = "cursor"


def unwrap_data(answer: Any) -> JsonValue:
    """The `data` of an envelope `{data, meta}`; any other answer unchanged."""
    if isinstance(answer, Mapping) and "data" in answer and answer.keys() <= {"data", "meta"}:
        return answer["data"]
    return answer


def parse_page_or_none(answer: Any) -> ListPage | None:
    """The page in an answer; None for anything else.

    A page is an envelope whose `meta.pagination` has `next_cursor`, or `{next, previous, results}`
    with or without an envelope. A list that does not say whether more follows is not accepted as
    a page: items after its end would be taken for absent.
    """
    content = unwrap_data(answer)
    if not isinstance(content, list):
        return parse_results_page(content, _parse_next_query)
    meta = answer.get("meta") if isinstance(answer, Mapping) else None
    pagination = meta.get("pagination") if isinstance(meta, Mapping) else None
    if not isinstance(pagination, Mapping) or "next_cursor" not in pagination:
        return None
    cursor = pagination["next_cursor"]
    if cursor is not None and not isinstance(cursor, str):
        return None
    return ListPage(content, next_query=_parse_next_query(cursor) if cursor else None)


def _parse_next_query(link_or_cursor: str) -> Query:
    """The query of the next page, from a link with a `cursor` in it or from a bare cursor."""
    query = parse_query_of_link(link_or_cursor) if "?" in link_or_cursor else ()
    return query if _CURSOR in dict(query) else ((_CURSOR, unmask_value(link_or_cursor)),)


DIALECT = Dialect(
    api_version="v2",
    prefix="v2/",
    has_dry_run=True,
    page_size_query=(("per_page", "200"),),  # the most there is
    page_number_param="",
    parse_page_or_none=parse_page_or_none,
    unwrap=unwrap_data,
    # v2 has no agent tokens.
    auth_headers={"token": "SYNAPSE-ACCESS-TOKEN", "tenant": "SYNAPSE-Tenant"},
)
