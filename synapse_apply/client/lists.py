"""Lists that come in pages, walked without trust in the links they carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from threading import Lock
from typing import Any

from synapse_apply.client import failures
from synapse_apply.client.answers import Answer
from synapse_apply.client.calls import Call
from synapse_apply.client.dialects.dialect import Dialect, Page, query_of
from synapse_apply.client.errors import UnexpectedAnswerError
from synapse_apply.client.json_items import Items, NotItemsError
from synapse_apply.client.shapes import ANYTHING, Shape
from synapse_apply.model.frozen import frozen

Params = Mapping[str, Any]
Fetch = Callable[[Call], Answer]
# The body of an answer as it arrives; its head is told to the second argument.
Stream = Callable[[Call, Callable[[Answer], None]], Iterator[bytes]]


@frozen
class Listing:
    """A list to be read: how, in which dialect, where, narrowed by what; pages at a time.

    Its items have this `shape`; ANYTHING also where they need not be objects.
    """

    fetch: Fetch
    dialect: Dialect
    path: str
    params: Params
    width: int = 1
    shape: Shape = ANYTHING

    @property
    def query(self) -> dict[str, Any]:
        """What is asked of the first page."""
        return {**dict(self.dialect.page_size), **self.params}


def page_in(dialect: Dialect, call: Call, answer: Answer, shape: Shape = ANYTHING) -> Page:
    """The page an answer is; UnexpectedAnswerError for none, or for items of another shape."""
    if answer.fault and answer.body.strip():
        raise failures.unexpected(call, answer, f"the answer cannot be read: {answer.fault}")
    page = dialect.read_page(answer.parsed)
    if page is None:
        raise failures.unexpected(call, answer, "neither a list nor a page of one")
    for item in page.items if shape is not ANYTHING else ():
        if not isinstance(item, dict):
            raise failures.unexpected(call, answer, "the list holds items that are no objects")
        if fault := shape.fault_of(item):
            raise failures.unexpected(call, answer, f"of an item in the list: {fault}")
    return page


def weighed(listing: Listing, most: int) -> Listing:
    """The listing, with a bound on what all its pages weigh; see `Answer.weight`."""
    lock, weight = Lock(), 0

    def fetch(call: Call) -> Answer:
        nonlocal weight
        answer = listing.fetch(call)
        with lock:
            weight += answer.weight
            is_too_much = weight > most
        if is_too_much:
            words = (
                f"its pages together take more than {most // 1024**2} MiB, more than is held of "
                "one list; is this the right server, and does it heed page numbers?"
            )
            raise failures.unexpected(call, answer, words)
        return answer

    return replace(listing, fetch=fetch)


def walk(listing: Listing, most: int) -> Iterator[Page]:
    """Every page of a list, at most `most`; UnexpectedAnswerError when the links go in a circle."""
    query = listing.query
    seen: set[tuple[tuple[str, str], ...]] = set()
    while True:
        call = Call("GET", listing.path, query=query, repeatable=True)
        seen.add(_key(query))
        answer = listing.fetch(call)
        page = page_in(listing.dialect, call, answer, listing.shape)
        yield page
        if page.following is None:
            return
        # Our own filters stay: a `next` without them would lead into another list.
        query = {**query, **dict(page.following)}
        if _key(query) in seen:
            raise failures.unexpected(call, answer, "its pages go in a circle")
        if len(seen) >= most:
            raise failures.unexpected(call, answer, f"it has more than {most} pages")


def entries(stream: Stream, path: str, names: tuple[str, ...], most: int) -> Iterator[Any]:
    """The items of a list as they arrive, of every page if it has several.

    `names` are those that the list may have in an object; `most` bounds its pages.
    UnexpectedAnswerError for what is none.
    """
    query: tuple[tuple[str, str], ...] | None = ()
    seen: set[tuple[tuple[str, str], ...]] = set()
    while query is not None:
        if len(seen) >= most:
            raise UnexpectedAnswerError(f"GET {path}: it has more than {most} pages")
        call = Call("GET", path, query=query, repeatable=True, accept="application/json")
        if query in seen:
            raise UnexpectedAnswerError(f"{call}: its pages go in a circle")
        seen.add(query)
        heads: list[Answer] = []
        items = Items(stream(call, heads.append), names)
        try:
            yield from items
        except NotItemsError as failure:
            raise failures.unexpected(call, heads[-1], f"the answer is {failure}") from None
        link = items.beside.get("next")
        query = query_of(link) if link and isinstance(link, str) else None


def _key(query: Params) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, str(value)) for key, value in query.items()))
