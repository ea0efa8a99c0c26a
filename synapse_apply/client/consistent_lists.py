"""When a paginated list counts as read completely, although it may change between two pages.

An item inserted or deleted meanwhile moves others across page boundaries, where a reader misses
them. A plan takes a missing item for one to create, so that complete lists are read twice and
compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from synapse_apply.client import failures
from synapse_apply.client.calls import ClientCall
from synapse_apply.client.dialects.dialect import ListPage
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.http.deadlines import MAX_LIST_WEIGHT
from synapse_apply.client.pagination import ListQuery, iter_pages, parse_page, with_weight_limit
from synapse_apply.model.errors import NotFound
from synapse_apply.model.frozen import mutable
from synapse_apply.model.runtime.parallel_reads import open_thread_pool

_MAX_READINGS = 6
# After this many readings pages are read one after the other: on a busy server parallel pages may
# never all report the same count.
_PARALLEL_READINGS = 3
_MAX_LIGHT_PAGE = 1024 * 1024


# Absence needs two readings, the second with all that a sound first one had: objects move between
# pages while the list is read.
def reread_list_until_complete(
    list_query: ListQuery, max_pages: int, max_weight: int = MAX_LIST_WEIGHT
) -> list[Any]:
    """All items of a list, each `id` once, from at most `max_pages` pages of `max_weight` in all.

    A list of several pages is read again until a reading has every item of the sound reading
    before it. Why that is enough:

    - Pages in sequence: only a deletion hides an item, by moving it to a page already read. The
      deleted item was read as well, so the next reading lacks it.
    - Pages in parallel: an insertion can hide an item, too. A reading is sound if all pages report
      the same count and it has that many items. Then inserted and deleted items are equal in
      number, and a hidden item implies a deleted one that was read: the next reading lacks it.

    UnexpectedAnswerError if no two such readings follow each other, or if there are always fewer
    items than the server reports.
    """
    previous_ids: set[Any] | None = None
    for number in range(_MAX_READINGS):
        max_parallel = list_query.max_parallel if number < _PARALLEL_READINGS else 1
        reading = _read_each_page_once(
            with_weight_limit(replace(list_query, max_parallel=max_parallel), max_weight), max_pages
        )
        if not reading.is_sound:
            # What an unsound reading has proves nothing: two sound ones must follow each other.
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
    raise failures.unexpected_answer(*reading.last_exchange, problem)


def read_list_once(
    list_query: ListQuery,
    max_pages: int,
    is_first_page_useful: Callable[[Sequence[Any]], bool],
    max_weight: int = MAX_LIST_WEIGHT,
) -> list[Any] | None:
    """The items of a single reading: each of them exists, but others may have been missed.

    None if the list has more than `max_pages` pages, or if `is_first_page_useful` is false for the
    items of the first page.
    """
    try:
        return _read_each_page_once(
            with_weight_limit(list_query, max_weight), max_pages, is_first_page_useful
        ).items
    except _ListLongOrNotUsefulError:
        return None


class _ListLongOrNotUsefulError(Exception):
    """`is_first_page_useful` was false, or the list has too many pages."""


@mutable
class _ListReading:
    """One reading of all pages. `last_exchange`: call and answer of the page read last, for errors.

    `is_sound`: its item count agrees with the count that the server reports.
    """

    last_exchange: tuple[ClientCall, Answer]
    items: list[Any] = field(default_factory=list)
    ids: set[Any] = field(default_factory=set)
    page_count: int = 0
    is_sound: bool = True

    def add_page(self, page: ListPage) -> None:
        self.page_count += 1
        self.items += [item for item in page.items if _is_new(item, self.ids)]


def _read_each_page_once(
    list_query: ListQuery,
    max_pages: int,
    is_first_page_useful: Callable[[Sequence[Any]], bool] | None = None,
) -> _ListReading:
    """Read each page once; _ListLongOrNotUsefulError only with `is_first_page_useful`."""
    exchanges: list[tuple[ClientCall, Answer]] = []

    def fetch(call: ClientCall) -> Answer:
        answer = list_query.fetch(call)
        # Only the last: answers of a long list would fill the memory.
        exchanges[:] = [(call, answer)]
        return answer

    pages = iter_pages(replace(list_query, fetch=fetch), max_pages)
    first_page = next(pages)
    reading = _ListReading(exchanges[-1])
    reading.add_page(first_page)
    page_numbers = _later_page_numbers(list_query, first_page)
    if is_first_page_useful is not None and (
        len(page_numbers) >= max_pages or not is_first_page_useful(first_page.items)
    ):
        raise _ListLongOrNotUsefulError
    try:
        # Pages that are fat are held one at a time.
        is_parallel = list_query.max_parallel > 1 and len(exchanges[-1][1].body) <= _MAX_LIGHT_PAGE
        if page_numbers and len(page_numbers) < max_pages and is_parallel:
            _add_pages_in_parallel(
                reading, replace(list_query, fetch=fetch), first_page, page_numbers
            )
        else:
            page = first_page
            for page in pages:
                reading.add_page(page)
                if is_first_page_useful is not None and reading.page_count >= max_pages:
                    raise _ListLongOrNotUsefulError
            reading.is_sound = page.total_count is None or len(reading.items) >= page.total_count
    except NotFound:
        # The first page promised this page: so many items were deleted meanwhile that it is gone.
        reading.is_sound = False
    reading.last_exchange = exchanges[-1]
    return reading


def _later_page_numbers(list_query: ListQuery, first_page: ListPage) -> range:
    """The numbers of the pages after the first; empty if they cannot be read by number."""
    page_param = list_query.dialect.page_number_param
    if (
        not page_param
        or not first_page.items
        or first_page.total_count is None
        or first_page.next_query is None
    ):
        return range(0)
    # Only a `next` link that is our own query plus `page=2` shows that the server counts pages as
    # we would.
    if {**list_query.first_page_query, **dict(first_page.next_query)} != {
        **list_query.first_page_query,
        page_param: "2",
    }:
        return range(0)
    # Divided and rounded up.
    return range(2, -(-first_page.total_count // len(first_page.items)) + 1)


def _add_pages_in_parallel(
    reading: _ListReading, list_query: ListQuery, first_page: ListPage, page_numbers: range
) -> None:
    """Read the pages of these numbers at the same time, and add them in order."""

    def fetch_page(number: int) -> ListPage:
        query = {**list_query.first_page_query, list_query.dialect.page_number_param: str(number)}
        call = ClientCall("GET", list_query.path, query=query, repeatable=True)
        return parse_page(list_query.dialect, call, list_query.fetch(call), list_query.shape)

    # All pages before any is added: `is_sound` compares the counts of all of them.
    with open_thread_pool(min(list_query.max_parallel, len(page_numbers))) as pool:
        pages = list(pool.map(fetch_page, page_numbers))
    for page in pages:
        reading.add_page(page)
    is_count_stable = all(page.total_count == first_page.total_count for page in pages)
    is_complete = pages[-1].next_query is None
    reading.is_sound = (
        is_count_stable and is_complete and len(reading.items) >= (first_page.total_count or 0)
    )


def _is_new(item: Any, seen_ids: set[Any]) -> bool:
    """Whether the item's id is not in `seen_ids`, to which it is added. True without an id."""
    identity = item.get("id") if isinstance(item, Mapping) else None
    if not isinstance(identity, (str, int)):
        return True
    # An insertion pushed it to the next page, where it was met again.
    if identity in seen_ids:
        return False
    seen_ids.add(identity)
    return True
