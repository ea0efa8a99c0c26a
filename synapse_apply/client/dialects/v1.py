"""API v1: `Token ` headers and page-numbered lists (synapse-api.md, section a)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

PAGE_SIZE = 100

Query = tuple[tuple[str, str], ...]


def auth_headers(
    token: str | None, tenant: str | None = None, agent_token: str | None = None
) -> dict[str, str]:
    """The headers that say who calls; what is not given is not sent."""
    forms = {"Synapse-Access-Token": token, "Synapse-Tenant": tenant, "SYNAPSE-Agent": agent_token}
    return {name: f"Token {value}" for name, value in forms.items() if value}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list.

    `total` is the server's count of the whole list (None when it gave none), `following` the
    query of the next page (None on the last one).
    """

    items: list[Any]
    total: int | None = None
    following: Query | None = None


def read_page(answer: Any) -> Page | None:
    """The page in an answer: `{count, next, previous, results}` or a bare list; else None."""
    if isinstance(answer, list):
        return Page(answer)
    if not isinstance(answer, Mapping) or not isinstance(answer.get("results"), list):
        return None
    link = answer.get("next")
    if link is not None and not isinstance(link, str):
        return None
    return Page(answer["results"], _count(answer.get("count")), next_query(link))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def next_query(link: object) -> Query | None:
    """Only the query of `next`: behind a proxy its host is one that must not get the token."""
    if not link or not isinstance(link, str):
        return None
    return tuple(parse_qsl(urlsplit(link).query, keep_blank_values=True))
