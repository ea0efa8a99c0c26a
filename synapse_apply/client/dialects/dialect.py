"""Which properties describe an API version on the wire, and how a linked list page is parsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from synapse_apply.model.frozen import frozen
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


# Data, not code: header forms, envelope and pages of one API version. The operations of both
# versions share one client and its connections.
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
