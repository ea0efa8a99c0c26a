"""How the pages of a list are followed: by the query of each link, without circles, bounded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from threading import Lock
from typing import Any

from synapse_apply.client import failures
from synapse_apply.client.answer_shapes import ANYTHING, AnswerShape
from synapse_apply.client.calls import ClientCall
from synapse_apply.client.dialects.dialect import Dialect, ListPage, parse_query_of_link
from synapse_apply.client.errors import TooLargeError, UnexpectedAnswerError
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.json_items import JsonItems, NotItemsError
from synapse_apply.model.coding.json_types import QueryParams
from synapse_apply.model.frozen import frozen

Fetch = Callable[[ClientCall], Answer]
# Gives the body of an answer as it arrives; its second argument is called with the answer's head.
Stream = Callable[[ClientCall, Callable[[Answer], None]], Generator[bytes, None, None]]


@frozen
class ListQuery:
    """A list to be read: `fetch` sends a call, `params` filter the list at `path`.

    `max_parallel` is how many pages may be requested at the same time, `shape` what each item must
    look like (ANYTHING: not even objects).
    """

    fetch: Fetch
    dialect: Dialect
    path: str
    params: QueryParams
    max_parallel: int = 1
    shape: AnswerShape = ANYTHING

    @property
    def first_page_query(self) -> dict[str, Any]:
        """The query of the first page: page size and filters."""
        return {**dict(self.dialect.page_size_query), **self.params}


# A v2 list that does not say whether more follows is refused: what lies behind its end would be
# taken for absent.
def parse_page(
    dialect: Dialect, call: ClientCall, answer: Answer, shape: AnswerShape = ANYTHING
) -> ListPage:
    """The page in an answer; UnexpectedAnswerError for anything else, or items of another shape."""
    if answer.parse_fault_or_empty and answer.body.strip():
        raise failures.unexpected_answer(
            call, answer, f"the answer cannot be read: {answer.parse_fault_or_empty}"
        )
    page = dialect.parse_page_or_none(answer.masked_json_or_none)
    if page is None:
        raise failures.unexpected_answer(call, answer, "neither a list nor a page of one")
    for item in page.items if shape is not ANYTHING else ():
        if not isinstance(item, dict):
            raise failures.unexpected_answer(
                call, answer, "the list holds items that are no objects"
            )
        if fault := shape.find_fault(item):
            raise failures.unexpected_answer(call, answer, f"of an item in the list: {fault}")
    return page


def with_weight_limit(list_query: ListQuery, max_weight: int) -> ListQuery:
    """The same query, whose `fetch` fails once its pages together exceed `max_weight` bytes.

    See `Answer.parsed_weight`. UnexpectedAnswerError from `fetch`.
    """
    lock, total_weight = Lock(), 0

    def fetch_within_weight(call: ClientCall) -> Answer:
        nonlocal total_weight
        answer = list_query.fetch(call)
        with lock:
            total_weight += answer.parsed_weight
            is_too_heavy = total_weight > max_weight
        if is_too_heavy:
            problem = (
                f"its pages together take more than {max_weight // 1024**2} MiB, more than is "
                f"held of "
                "one list; is this the right server, and does it heed page numbers?"
            )
            raise failures.unexpected_answer(call, answer, problem, TooLargeError)
        return answer

    return replace(list_query, fetch=fetch_within_weight)


def iter_pages(list_query: ListQuery, max_pages: int) -> Iterator[ListPage]:
    """Each page of a list, requested when it is needed.

    UnexpectedAnswerError for more than `max_pages` pages, or if the links form a circle.
    """
    query = list_query.first_page_query
    seen_queries: set[tuple[tuple[str, str], ...]] = set()
    while True:
        call = ClientCall("GET", list_query.path, query=query, repeatable=True)
        seen_queries.add(_build_query_key(query))
        answer = list_query.fetch(call)
        page = parse_page(list_query.dialect, call, answer, list_query.shape)
        yield page
        if page.next_query is None:
            return
        # Our own filters are kept: some servers leave them out of `next`, which would then lead to
        # the unfiltered list.
        query = {**query, **dict(page.next_query)}
        if _build_query_key(query) in seen_queries:
            raise failures.unexpected_answer(call, answer, "its pages go in a circle")
        if len(seen_queries) >= max_pages:
            raise failures.unexpected_answer(call, answer, f"it has more than {max_pages} pages")


def iter_streamed_list_items_of_all_pages(
    stream: Stream, path: str, names: tuple[str, ...], max_pages: int
) -> Iterator[Any]:
    """The items of the list at `path` as they arrive, of all its pages.

    `names` are the keys under which an object may hold the list. UnexpectedAnswerError for more
    than `max_pages` pages, links in a circle, or an answer that is no list.
    """
    query: tuple[tuple[str, str], ...] | None = ()
    seen_queries: set[tuple[tuple[str, str], ...]] = set()
    while query is not None:
        if len(seen_queries) >= max_pages:
            raise UnexpectedAnswerError(f"GET {path}: it has more than {max_pages} pages")
        call = ClientCall("GET", path, query=query, repeatable=True, accept="application/json")
        if query in seen_queries:
            raise UnexpectedAnswerError(f"{call}: its pages go in a circle")
        seen_queries.add(query)
        answers: list[Answer] = []
        try:
            # Who stops reading, or cannot go on, gives the connection back.
            with closing(stream(call, answers.append)) as pieces:
                items = JsonItems(pieces, names)
                yield from items
        except NotItemsError as failure:
            raise failures.unexpected_answer(
                call, answers[-1], f"the answer is {failure}"
            ) from None
        next_link = items.other_values.get("next")
        query = parse_query_of_link(next_link) if next_link and isinstance(next_link, str) else None


def _build_query_key(query: QueryParams) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, str(value)) for key, value in query.items()))
