"""Whole lists, although they may change between two of their pages.

A list that changes while it is read can hide an item behind the seam of two pages, and a missing
item is read as one to create. So who must know what is absent reads twice and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from synapse_apply.client import failures
from synapse_apply.client.answers import Answer
from synapse_apply.client.calls import Call
from synapse_apply.client.deadlines import MOST_WEIGHT
from synapse_apply.client.dialects.dialect import Page
from synapse_apply.client.lists import Listing, page_in, walk, weighed
from synapse_apply.model.errors import NotFound
from synapse_apply.model.threads import threads

_MOST_READINGS = 6
# From here on page after page: a busy server may never give one count for all pages.
_SIDE_BY_SIDE = 3


def whole(listing: Listing, most: int, weight: int = MOST_WEIGHT) -> list[Any]:
    """All items of a list, each once by its `id`. At most `most` pages of this weight in all.

    A list of several pages is read until a reading has all that a sound one before it had:

    - Page after page, only a deletion hides an item: it moves one to a page that was read already.
      The deleted one was read, too, so the next reading lacks it.
    - Side by side, an insertion hides as well. A reading is sound when all its pages tell one
      count and it has so many items: then as many came as went, and if an item is hidden, one
      that went is among those that were read. Again the next reading lacks it.

    UnexpectedAnswerError when no reading follows a sound one so, or when there are always fewer
    items than the server counts.
    """
    before: set[Any] | None = None
    for number in range(_MOST_READINGS):
        width = listing.width if number < _SIDE_BY_SIDE else 1
        reading = _read(weighed(replace(listing, width=width), weight), most)
        if not reading.is_sound:
            before = None
        elif (
            reading.pages == 1 or not reading.ids or (before is not None and before <= reading.ids)
        ):
            return reading.items
        else:
            before = reading.ids
    words = "it changes while it is read, or has fewer items than it says; try again later"
    raise failures.unexpected(*reading.last, words)


def once(
    listing: Listing,
    most: int,
    is_of_use: Callable[[Sequence[Any]], bool],
    weight: int = MOST_WEIGHT,
) -> Any:
    """The items of one reading: what it has is there, what it lacks may be there, too.

    None when the list has more than `most` pages, or `is_of_use` says no to the first one's items.
    """
    try:
        return _read(weighed(listing, weight), most, is_of_use).items
    except _NotWantedError:
        return None


class _NotWantedError(Exception):
    """The first page showed that the list is of no use."""


@dataclass(slots=True)
class _Reading:
    """One look at all pages; `last` is the last page's request."""

    last: tuple[Call, Answer]
    items: list[Any] = field(default_factory=list)
    ids: set[Any] = field(default_factory=set)
    pages: int = 0
    is_sound: bool = True

    def add(self, page: Page) -> None:
        self.pages += 1
        self.items += [item for item in page.items if _is_new(item, self.ids)]


def _read(
    listing: Listing, most: int, is_of_use: Callable[[Sequence[Any]], bool] | None = None
) -> _Reading:
    asked: list[tuple[Call, Answer]] = []

    def kept(call: Call) -> Answer:
        answer = listing.fetch(call)
        asked[:] = [(call, answer)]
        return answer

    pages = walk(replace(listing, fetch=kept), most)
    first = next(pages)
    reading = _Reading(asked[-1])
    reading.add(first)
    numbers = _numbers(listing, first)
    if is_of_use is not None and (len(numbers) >= most or not is_of_use(first.items)):
        raise _NotWantedError
    try:
        if numbers and len(numbers) < most and listing.width > 1:
            _beside(reading, replace(listing, fetch=kept), first, numbers)
        else:
            page = first
            for page in pages:
                reading.add(page)
                if is_of_use is not None and reading.pages >= most:
                    raise _NotWantedError
            reading.is_sound = page.total is None or len(reading.items) >= page.total
    except NotFound:
        # A page that was announced: enough was deleted meanwhile.
        reading.is_sound = False
    reading.last = asked[-1]
    return reading


def _numbers(listing: Listing, first: Page) -> range:
    """The numbers of the pages after the first, where they have numbers and the count is known."""
    name = listing.dialect.numbered
    if not name or not first.items or first.total is None or first.following is None:
        return range(0)
    if {**listing.query, **dict(first.following)} != {**listing.query, name: "2"}:
        return range(0)
    return range(2, -(-first.total // len(first.items)) + 1)


def _beside(reading: _Reading, listing: Listing, first: Page, numbers: range) -> None:
    def fetched(number: int) -> Page:
        query = {**listing.query, listing.dialect.numbered: str(number)}
        call = Call("GET", listing.path, query=query, repeatable=True)
        return page_in(listing.dialect, call, listing.fetch(call), listing.shape)

    with threads(min(listing.width, len(numbers))) as pool:
        pages = list(pool.map(fetched, numbers))
    for page in pages:
        reading.add(page)
    one_count = all(page.total == first.total for page in pages)
    ends = pages[-1].following is None
    reading.is_sound = one_count and ends and len(reading.items) >= (first.total or 0)


def _is_new(item: Any, seen: set[Any]) -> bool:
    identity = item.get("id") if isinstance(item, Mapping) else None
    if not isinstance(identity, str | int):
        return True
    if identity in seen:
        return False
    seen.add(identity)
    return True
