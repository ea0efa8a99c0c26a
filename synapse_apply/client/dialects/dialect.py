"""What a dialect is, and what a page of a list is in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from synapse_apply.model.frozen import frozen
from synapse_apply.model.masked import as_answered

Query = tuple[tuple[str, str], ...]


@frozen
class Page:
    """One page of a list.

    `total` is the server's count of the whole list (None when it gave none), `following` the
    query of the next page (None on the last one).
    """

    items: list[Any]
    total: int | None = None
    following: Query | None = None


@frozen
class Credentials:
    """Who calls, as plain texts; None is not sent."""

    token: str | None = None
    tenant: str | None = None
    agent_token: str | None = None


@frozen
class Dialect:
    """One API version on the wire.

    `prefix` stands before every path, `page_size` is the query that asks for large pages,
    `numbered` the query that names a page by its number ("" where only the page before names one),
    `read_page` reads a page (None for what is none), `unwrap` takes the value out of an answer,
    `auth_headers` says who calls.
    """

    api: str
    prefix: str
    page_size: Query
    numbered: str
    read_page: Callable[[Any], Page | None]
    unwrap: Callable[[Any], Any]
    auth_headers: Callable[[Credentials], dict[str, str]]


def query_of(link: str) -> Query:
    """Only the query of a link: behind a proxy its host is one that must not get the token."""
    # A link is no text for people: masked, it would lead to another list.
    return tuple(parse_qsl(urlsplit(as_answered(link)).query, keep_blank_values=True))


def page_with_links(answer: Any, following: Callable[[str], Query]) -> Page | None:
    """The page in `{count, next, previous, results}`; None for anything else."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("results"), list):
        return None
    link = answer.get("next")
    if link is not None and not isinstance(link, str):
        return None
    total = answer.get("count")
    is_count = isinstance(total, int) and not isinstance(total, bool)
    return Page(answer["results"], total if is_count else None, following(link) if link else None)
