"""Whole lists, although they may change between two of their pages.

A list that changes while it is read can hide an item behind the seam of two pages, and a missing
item is read as one to create. So who must know what is absent reads twice and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from synapse_apply.client import failures
from synapse_apply.client.calls import ClientCall
from synapse_apply.client.dialects.dialect import ListPage
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.http.deadlines import MAX_LIST_WEIGHT
from synapse_apply.client.pagination import ListQuery, iter_pages, limit_total_weight, parse_page
from synapse_apply.model.errors import NotFound
from synapse_apply.model.runtime.parallel_reads import open_thread_pool

_MAX_READINGS = 6
# From here on page after page: a busy server may never give one count for all pages.
_PARALLEL_READINGS = 3


def read_complete_list(
    list_query: ListQuery, max_pages: int, max_weight: int = MAX_LIST_WEIGHT
) -> list[Any]:
    """All items of a list, each once by its `id`. At most `max_pages` pages of this weight in all.

    A list of several pages is read until a reading has all that a sound one before it had:

    - Page after page, only a deletion hides an item: it moves one to a page that was read already.
      The deleted one was read, too, so the next reading lacks it.
    - Side by side, an insertion hides as well. A reading is sound when all its pages tell one
      count and it has so many items: then as many came as went, and if an item is hidden, one
      that went is among those that were read. Again the next reading lacks it.

    UnexpectedAnswerError when no reading follows a sound one so, or when there are always fewer
    items than the server counts.
    """
    previous_ids: set[Any] | None = None
    for number in range(_MAX_READINGS):
        max_parallel = list_query.max_parallel if number < _PARALLEL_READINGS else 1
        reading = _read_all_pages(
            limit_total_weight(replace(list_query, max_parallel=max_parallel), max_weight),
            max_pages,
        )
        if not reading.is_sound:
            previous_ids = None
        elif (
            reading.page_count == 1
            or not reading.ids
            or (previous_ids is not None and previous_ids <= reading.ids)
        ):
            return reading.items
        else:
            previous_ids = reading.ids
    problem = "it changes while it is read, or has fewer items than it says; try again later"
    raise failures.build_unexpected_answer_error(*reading.last_exchange, problem)


def read_list_once(
    list_query: ListQuery,
    max_pages: int,
    is_useful: Callable[[Sequence[Any]], bool],
    max_weight: int = MAX_LIST_WEIGHT,
) -> Any:
    """The items of one reading: what it has is there, what it lacks may be there, too.

    None when the list has more than `max_pages` pages, or `is_useful` says no to the first one's
    items.
    """
    try:
        return _read_all_pages(
            limit_total_weight(list_query, max_weight), max_pages, is_useful
        ).items
    except _ListNotUsefulError:
        return None


class _ListNotUsefulError(Exception):
    """The first page showed that the list is of no use."""


@dataclass(slots=True)
class _ListReading:
    """One look at all pages; `last_exchange` is the last page's request."""

    last_exchange: tuple[ClientCall, Answer]
    items: list[Any] = field(default_factory=list)
    ids: set[Any] = field(default_factory=set)
    page_count: int = 0
    is_sound: bool = True

    def add_page(self, page: ListPage) -> None:
        self.page_count += 1
        self.items += [item for item in page.items if _remember_if_new_item(item, self.ids)]


def _read_all_pages(
    list_query: ListQuery, max_pages: int, is_useful: Callable[[Sequence[Any]], bool] | None = None
) -> _ListReading:
    exchanges: list[tuple[ClientCall, Answer]] = []

    def fetch_and_remember_exchange(call: ClientCall) -> Answer:
        answer = list_query.fetch(call)
        exchanges[:] = [(call, answer)]
        return answer

    pages = iter_pages(replace(list_query, fetch=fetch_and_remember_exchange), max_pages)
    first_page = next(pages)
    reading = _ListReading(exchanges[-1])
    reading.add_page(first_page)
    page_numbers = _compute_later_page_numbers(list_query, first_page)
    if is_useful is not None and (
        len(page_numbers) >= max_pages or not is_useful(first_page.items)
    ):
        raise _ListNotUsefulError
    try:
        if page_numbers and len(page_numbers) < max_pages and list_query.max_parallel > 1:
            _add_pages_in_parallel(
                reading,
                replace(list_query, fetch=fetch_and_remember_exchange),
                first_page,
                page_numbers,
            )
        else:
            page = first_page
            for page in pages:
                reading.add_page(page)
                if is_useful is not None and reading.page_count >= max_pages:
                    raise _ListNotUsefulError
            reading.is_sound = page.total_count is None or len(reading.items) >= page.total_count
    except NotFound:
        # A page that was announced: enough was deleted meanwhile.
        reading.is_sound = False
    reading.last_exchange = exchanges[-1]
    return reading


def _compute_later_page_numbers(list_query: ListQuery, first_page: ListPage) -> range:
    """The numbers of the pages after the first, where they have numbers and the count is known."""
    page_param = list_query.dialect.page_number_param
    if (
        not page_param
        or not first_page.items
        or first_page.total_count is None
        or first_page.next_query is None
    ):
        return range(0)
    if {**list_query.first_page_query, **dict(first_page.next_query)} != {
        **list_query.first_page_query,
        page_param: "2",
    }:
        return range(0)
    return range(2, -(-first_page.total_count // len(first_page.items)) + 1)


def _add_pages_in_parallel(
    reading: _ListReading, list_query: ListQuery, first_page: ListPage, page_numbers: range
) -> None:
    def fetch_page(number: int) -> ListPage:
        query = {**list_query.first_page_query, list_query.dialect.page_number_param: str(number)}
        call = ClientCall("GET", list_query.path, query=query, repeatable=True)
        return parse_page(list_query.dialect, call, list_query.fetch(call), list_query.shape)

    with open_thread_pool(min(list_query.max_parallel, len(page_numbers))) as pool:
        pages = list(pool.map(fetch_page, page_numbers))
    for page in pages:
        reading.add_page(page)
    is_count_stable = all(page.total_count == first_page.total_count for page in pages)
    is_complete = pages[-1].next_query is None
    reading.is_sound = (
        is_count_stable and is_complete and len(reading.items) >= (first_page.total_count or 0)
    )


def _remember_if_new_item(item: Any, seen_ids: set[Any]) -> bool:
    identity = item.get("id") if isinstance(item, Mapping) else None
    if not isinstance(identity, str | int):
        return True
    if identity in seen_ids:
        return False
    seen_ids.add(identity)
    return True
