"""How lists of API v1 are paginated and filtered: numbered pages with a count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from synapse_apply.emulator.core.backend import parse_iso_time_or_none
from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest
from synapse_apply.emulator.core.fields import (
    Fact,
    FactSource,
    build_error_of_field,
    build_not_found_error,
)
from synapse_apply.emulator.core.store import ObjectQuery

_ORDERS = frozenset({"created", "id"})
DEFAULT_SIZE = 20
LARGEST_SIZE = 100

FACTS = (
    Fact(
        "Lists are pages `{count, next, previous, results}`; `next` is absolute.",
        FactSource.OBSERVED,
    ),
    Fact(f"`page_size` is {DEFAULT_SIZE} unless asked.", FactSource.GUESSED),
    Fact(f"`page_size` is at most {LARGEST_SIZE}; more is cut to that.", FactSource.DESCRIBED),
    Fact(
        "With `filters=platform`, `created__gte`, `created__lt` and `ordering` (`created` or `id`, "
        "with `-` the other way) are read in every list of v1. Other filters that nobody knows are "
        "passed over without a word.",
        FactSource.MEASURED,
    ),
    Fact(
        "A page beyond the last is 404; `limit` and `offset` are passed over.", FactSource.GUESSED
    ),
)


def add_v1_filters(request: EmulatorRequest, query: ObjectQuery) -> ObjectQuery:
    """The query with the filters and the order that all lists of v1 take. Raises ApiError (400)."""
    newest_first = query.newest_first
    if not request.has_server_switch_value("filters", "platform"):
        return query
    ordering = request.query.get("ordering", "")
    if ordering.removeprefix("-") in _ORDERS:
        newest_first = ordering.startswith("-")
    return replace(
        query,
        created_after=_parse_time_filter(request, "created__gte", query.created_after),
        created_before=_parse_time_filter(request, "created__lt", query.created_before),
        newest_first=newest_first,
    )


def _parse_time_filter(request: EmulatorRequest, name: str, default: float | None) -> float | None:
    text = request.query.get(name)
    if not text:
        return default
    moment = parse_iso_time_or_none(text)
    if moment is None:
        raise build_error_of_field(name, "Enter a valid date/time.")
    return moment


def build_page_answer(
    request: EmulatorRequest, count: int, fetch: Callable[[int, int], Sequence[Any]]
) -> EmulatorAnswer:
    """One page of `count` items, which `fetch(limit, offset)` gives.

    Raises ApiError (404) for a page beyond the last one.
    """
    size = _parse_page_size(request.query.get("page_size", ""))
    # Rounded up; an empty list has one empty page.
    last_page = max(1, -(-count // size))
    page_text = request.query.get("page", "1")
    # Django REST framework has `?page=last` as well.
    if page_text == "last":
        page_number = last_page
    elif page_text.isdecimal() and len(page_text) < 10 and 1 <= int(page_text) <= last_page:
        page_number = int(page_text)
    else:
        raise build_not_found_error("Invalid page.")
    return EmulatorAnswer(
        {
            "count": count,
            "next": _build_page_url(request, page_number + 1) if page_number < last_page else None,
            "previous": _build_page_url(request, page_number - 1) if page_number > 1 else None,
            "results": list(fetch(size, (page_number - 1) * size)),
        }
    )


def _parse_page_size(text: str) -> int:
    # An unusable size counts as none, as in Django REST framework.
    if not text.isdecimal() or len(text) > 9 or int(text) == 0:
        return DEFAULT_SIZE
    return min(int(text), LARGEST_SIZE)


def _build_page_url(request: EmulatorRequest, page_number: int) -> str:
    return f"{request.url}?{urlencode({**request.query, 'page': page_number})}"
