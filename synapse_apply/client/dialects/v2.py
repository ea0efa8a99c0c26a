"""API v2: bare header values, envelopes, lists by cursor (synapse-api.md, section b)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.client.dialects.dialect import (
    Credentials,
    Dialect,
    Page,
    Query,
    page_with_links,
    query_of,
)
from synapse_apply.model.masked import as_answered

_CURSOR = "cursor"


def auth_headers(who: Credentials) -> dict[str, str]:
    """The headers that say who calls; v2 knows no agents."""
    forms = {"SYNAPSE-ACCESS-TOKEN": who.token, "SYNAPSE-Tenant": who.tenant}
    return {name: value for name, value in forms.items() if value}


def unwrap(answer: Any) -> Any:
    """What is in an envelope `{data, meta}`; anything else as it is."""
    if isinstance(answer, Mapping) and "data" in answer and answer.keys() <= {"data", "meta"}:
        return answer["data"]
    return answer


def read_page(answer: Any) -> Page | None:
    """The page in an answer; None for what is none.

    Either an envelope whose `meta.pagination` has `next_cursor`, or `{next, previous, results}`,
    bare or in an envelope. A list that does not say whether more follows is no page: what is
    behind its end would be taken for absent.
    """
    inside = unwrap(answer)
    if not isinstance(inside, list):
        return page_with_links(inside, _following)
    meta = answer.get("meta") if isinstance(answer, Mapping) else None
    pagination = meta.get("pagination") if isinstance(meta, Mapping) else None
    if not isinstance(pagination, Mapping) or "next_cursor" not in pagination:
        return None
    cursor = pagination["next_cursor"]
    if cursor is not None and not isinstance(cursor, str):
        return None
    return Page(inside, following=_following(cursor) if cursor else None)


def _following(text: str) -> Query:
    """The query of the next page: of a link that has a cursor, else the text is the cursor."""
    query = query_of(text) if "?" in text else ()
    return query if _CURSOR in dict(query) else ((_CURSOR, as_answered(text)),)


DIALECT = Dialect(
    api="v2",
    prefix="v2/",
    page_size=(("per_page", "200"),),  # the most there is
    numbered="",
    read_page=read_page,
    unwrap=unwrap,
    auth_headers=auth_headers,
)
