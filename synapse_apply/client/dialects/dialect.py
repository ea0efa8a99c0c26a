"""What a dialect is, and what a page of a list is in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from synapse_apply.model.frozen import frozen
from synapse_apply.model.secrets.masked_text import unmask_value

Query = tuple[tuple[str, str], ...]


@frozen
class ListPage:
    """One page of a list.

    `total_count` is the server's count of the whole list (None when it gave none), `next_query` the
    query of the next page (None on the last one).
    """

    items: list[Any]
    total_count: int | None = None
    next_query: Query | None = None


@frozen
class Credentials:
    """Who calls, as plain texts; None is not sent."""

    token: str | None = None
    tenant: str | None = None
    agent_token: str | None = None


@frozen
class Dialect:
    """One API version on the wire.

    `prefix` stands before every path, `page_size_query` is the query that asks for large pages,
    `page_number_param` the query that names a page by its number ("" where only the page before
    names one), `read_page` reads a page (None for what is none), `unwrap` takes the value out of an
    answer, `build_auth_headers` says who calls.
    """

    api_version: str
    prefix: str
    page_size_query: Query
    page_number_param: str
    read_page: Callable[[Any], ListPage | None]
    unwrap: Callable[[Any], Any]
    build_auth_headers: Callable[[Credentials], dict[str, str]]


def parse_link_query(link: str) -> Query:
    """Only the query of a link: behind a proxy its host is one that must not get the token."""
    # A link is no text for people: masked, it would lead to another list.
    return tuple(parse_qsl(urlsplit(unmask_value(link)).query, keep_blank_values=True))


def parse_linked_page(answer: Any, parse_next_query: Callable[[str], Query]) -> ListPage | None:
    """The page in `{count, next, previous, results}`; None for anything else."""
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
