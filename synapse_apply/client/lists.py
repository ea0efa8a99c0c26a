"""Lists that come in pages, walked without trust in the links they carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from synapse_apply.client import failures
from synapse_apply.client.answers import Answer
from synapse_apply.client.calls import Call
from synapse_apply.client.dialects.dialect import Dialect, Page, query_of
from synapse_apply.client.errors import UnexpectedAnswerError
from synapse_apply.client.json_items import Items, NotItemsError
from synapse_apply.model.errors import NotFound

Params = Mapping[str, Any]
Fetch = Callable[[Call], Answer]
Stream = Callable[[Call], Iterator[bytes]]
_MOST_READINGS = 6


@dataclass(frozen=True, slots=True)
class Listing:
    """A list to be read: how, in which dialect, where, and narrowed by what."""

    fetch: Fetch
    dialect: Dialect
    path: str
    params: Params


def page_in(dialect: Dialect, call: Call, answer: Answer) -> Page:
    """The page an answer is; UnexpectedAnswerError when it is none."""
    page = dialect.read_page(answer.parsed)
    if page is None:
        raise failures.unexpected(call, answer, "neither a list nor a page of one")
    return page


def walk(listing: Listing, most: int) -> Iterator[Page]:
    """Every page of a list, at most `most`; UnexpectedAnswerError when the links go in a circle."""
    query: dict[str, Any] = {**dict(listing.dialect.page_size), **listing.params}
    seen: set[tuple[tuple[str, str], ...]] = set()
    while True:
        call = Call("GET", listing.path, query=query, repeatable=True)
        seen.add(_key(query))
        answer = listing.fetch(call)
        page = page_in(listing.dialect, call, answer)
        yield page
        if page.following is None:
            return
        # Our own filters stay: a `next` without them would lead into another list.
        query = {**query, **dict(page.following)}
        if _key(query) in seen:
            raise failures.unexpected(call, answer, "its pages go in a circle")
        if len(seen) >= most:
            raise failures.unexpected(call, answer, f"it has more than {most} pages")


def entries(stream: Stream, path: str, names: tuple[str, ...]) -> Iterator[Any]:
    """The items of a list as they arrive, of every page if it has several.

    `names` are those that the list may have in an object. UnexpectedAnswerError for what is none.
    """
    query: tuple[tuple[str, str], ...] | None = ()
    seen: set[tuple[tuple[str, str], ...]] = set()
    while query is not None:
        call = Call("GET", path, query=query, repeatable=True, accept="application/json")
        if query in seen:
            raise UnexpectedAnswerError(f"{call}: its pages go in a circle")
        seen.add(query)
        items = Items(stream(call), names)
        try:
            yield from items
        except NotItemsError as failure:
            raise UnexpectedAnswerError(f"{call}: the answer is {failure}") from None
        link = items.beside.get("next")
        query = query_of(link) if link and isinstance(link, str) else None


def whole(listing: Listing, most: int) -> list[Any]:
    """All items of a list, each once by its `id`.

    A list that changes while it is read can hide an item behind the seam of two pages, and a
    missing item is read as one to create. What hides it takes another item away from a page that
    was read already, so the next reading lacks that one: a list of several pages is read until
    a reading has all that the one before it had. UnexpectedAnswerError when it never does, or
    when there are always fewer than the server counts.
    """
    before: set[Any] | None = None
    for _ in range(_MOST_READINGS):
        reading = _read(listing, most)
        if not reading.is_complete:
            before = None
        elif (
            reading.pages == 1 or not reading.ids or (before is not None and before <= reading.ids)
        ):
            return reading.items
        else:
            before = reading.ids
    words = "it changes while it is read, or has fewer items than it says; try again later"
    raise failures.unexpected(*reading.last, words)


@dataclass(slots=True)
class _Reading:
    """One walk through a list; `last` is the last page's request."""

    last: tuple[Call, Answer]
    items: list[Any] = field(default_factory=list)
    ids: set[Any] = field(default_factory=set)
    pages: int = 0
    is_complete: bool = True

    def add(self, page: Page) -> None:
        self.pages += 1
        self.items += [item for item in page.items if _is_new(item, self.ids)]
        self.is_complete = page.total is None or len(self.items) >= page.total


def _read(listing: Listing, most: int) -> _Reading:
    asked: list[tuple[Call, Answer]] = []

    def kept(call: Call) -> Answer:
        answer = listing.fetch(call)
        asked[:] = [(call, answer)]
        return answer

    pages = walk(replace(listing, fetch=kept), most)
    page = next(pages)
    reading = _Reading(asked[-1])
    reading.add(page)
    try:
        for page in pages:
            reading.add(page)
    except NotFound:
        # The page that the one before announced: enough was deleted meanwhile.
        reading.is_complete = False
    reading.last = asked[-1]
    return reading


def _is_new(item: Any, seen: set[Any]) -> bool:
    identity = item.get("id") if isinstance(item, Mapping) else None
    if not isinstance(identity, str | int):
        return True
    if identity in seen:
        return False
    seen.add(identity)
    return True


def _key(query: Params) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, str(value)) for key, value in query.items()))
