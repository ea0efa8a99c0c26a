"""What differs between API versions on the wire: credential headers, envelopes, list pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import JsonValue
from synapse_apply.model.secrets.secret_marks import unmask_value

Query = tuple[tuple[str, str], ...]


@frozen
class ListPage:
    """One page of a list.

    `total_count` is the number of items in the complete list as the server reports it (None if it
    reports none), `next_query` the query of the next page (None on the last one).
    """

    items: list[Any]
    total_count: int | None = None
    next_query: Query | None = None


@frozen
class Dialect:
    """One API version on the wire.

    `prefix` precedes every path; `has_dry_run`: a call may be sent with `dry_run=true`;
    `page_size_query` requests large pages; `page_number_param` is the query parameter for a page
    number ("" if pages are only reachable by the link of the page before); `parse_page_or_none`
    parses a page; `unwrap` removes the envelope of an answer; `auth_headers` are the names of the
    headers by the credential that each carries, which `auth_prefix` precedes.
    """

    api_version: str
    prefix: str
    has_dry_run: bool
    page_size_query: Query
    page_number_param: str
    parse_page_or_none: Callable[[Any], ListPage | None]
    unwrap: Callable[[Any], Any]
    auth_headers: Mapping[str, str]
    auth_prefix: str = ""


def parse_query_of_link(link: str) -> Query:
    """The query of a link as pairs; its host and path are ignored.

    Behind a proxy the host is often an internal one, which must not receive the token.
    """
    # Not masked: with a mask in its query the link would lead to another list.
    return tuple(parse_qsl(urlsplit(unmask_value(link)).query, keep_blank_values=True))


def parse_results_page(answer: Any, parse_next_query: Callable[[str], Query]) -> ListPage | None:
    """The page in an object `{count, next, previous, results}`; None for anything else."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("results"), list):
        return None
    next_link = answer.get("next")
    if next_link is not None and not isinstance(next_link, str):
        return None
    count = answer.get("count")
    is_count = isinstance(count, int) and not isinstance(count, bool)
    return ListPage(
        answer["results"],
        count if is_count else None,
        parse_next_query(next_link) if next_link else None,
    )


# `Token ` headers and page-numbered lists (synapse-api.md, section a).
V1 = Dialect(
    api_version="v1",
    prefix="",
    has_dry_run=False,
    page_size_query=(("page_size", "100"),),
    page_number_param="page",
    parse_page_or_none=lambda answer: (
        ListPage(answer)
        if isinstance(answer, list)
        else parse_results_page(answer, parse_query_of_link)
    ),
    unwrap=lambda answer: answer,
    auth_headers={
        "token": "Synapse-Access-Token",
        "tenant": "Synapse-Tenant",
        "agent_token": "SYNAPSE-Agent",
    },
    auth_prefix="Token ",
)


def unwrap_data(answer: Any) -> JsonValue:
    """The `data` of an envelope `{data, meta}`; any other answer unchanged."""
    if isinstance(answer, Mapping) and "data" in answer and answer.keys() <= {"data", "meta"}:
        return answer["data"]
    return answer


def parse_v2_page(answer: Any) -> ListPage | None:
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
    return query if "cursor" in dict(query) else (("cursor", unmask_value(link_or_cursor)),)


# Bare header values, envelopes, lists by cursor (synapse-api.md, section b).
V2 = Dialect(
    api_version="v2",
    prefix="v2/",
    has_dry_run=True,
    page_size_query=(("per_page", "200"),),  # the most there is
    page_number_param="",
    parse_page_or_none=parse_v2_page,
    unwrap=unwrap_data,
    # v2 has no agent tokens.
    auth_headers={"token": "SYNAPSE-ACCESS-TOKEN", "tenant": "SYNAPSE-Tenant"},
)
