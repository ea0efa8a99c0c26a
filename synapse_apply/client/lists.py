"""How the pages and items of a list are read, and when a list counts as read completely.

A parsed log of a hundred thousand lines takes tens of megabytes, which no caller needs at once.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from threading import Lock
from typing import Any

from synapse_apply.client import failures
from synapse_apply.client.calls import ClientCall
from synapse_apply.client.dialects import Dialect, ListPage, parse_query_of_link
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.http.pacing import MAX_LIST_WEIGHT
from synapse_apply.client.operations import ANYTHING, AnswerShape
from synapse_apply.model.errors import NotFound, TooLarge, UnexpectedAnswer
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_types import JsonValue, PageCheck, QueryParams
from synapse_apply.model.json_values import OddJsonError, decode_lenient_json_at
from synapse_apply.model.parallel_reads import open_thread_pool

MAX_ITEM_LENGTH = 16 * 1024 * 1024  # characters of one item
_LONG_ITEM_LENGTH = 64 * 1024
_BLANKS = " \t\r\n"
_VALUE_ENDS = frozenset(",]}:" + _BLANKS)


class NotItemsError(ValueError):
    """The text is not JSON, neither a list nor an object with one, or an item is too large."""


class JsonItems:
    """Iterates over the items of `[...]`, or of the list under one of `names` in an object.

    After the last item `other_values` holds the object's other values. NotItemsError from the
    iteration.
    """

    def __init__(self, blocks: Iterable[bytes], names: tuple[str, ...]) -> None:
        """`blocks` are pieces of UTF-8 text; none is read before the iteration."""
        self._blocks = iter(blocks)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._buffer = ""
        self._position = 0
        self._names = names
        self.other_values: dict[str, Any] = {}

    def __iter__(self) -> Iterator[Any]:
        first_char = self._peek()
        if first_char == "[":
            yield from self._iter_list_items()
            return
        if first_char != "{":
            raise NotItemsError("neither a list nor an object with one")
        has_list = False
        self._position += 1
        while self._peek() != "}":
            name = self._parse_value()
            self._consume_char_or_raise(":")
            if name in self._names and self._peek() == "[":
                has_list = True
                yield from self._iter_list_items()
            else:
                self.other_values[str(name)] = self._parse_value()
            if self._peek() != "}":
                self._consume_char_or_raise(",")
        if not has_list:
            raise NotItemsError("an object without a list")

    def _iter_list_items(self) -> Iterator[Any]:
        self._position += 1
        while self._peek() != "]":
            yield self._parse_value()
            if self._peek() != "]":
                self._consume_char_or_raise(",")
        self._position += 1

    def _consume_char_or_raise(self, char: str) -> None:
        if self._peek() != char:
            raise NotItemsError("no JSON")
        self._position += 1

    def _peek(self) -> str:
        """The next character that is not a blank, without consuming it."""
        while True:
            while self._position < len(self._buffer):
                char = self._buffer[self._position]
                if char not in _BLANKS:
                    return char
                self._position += 1
            if not self._read_more():
                raise NotItemsError("no JSON: the answer was cut off")

    def _parse_value(self) -> JsonValue:
        self._peek()
        while True:
            try:
                value, end = decode_lenient_json_at(self._buffer, self._position)
            except OddJsonError as problem:
                raise NotItemsError(f"no JSON that can be read: {problem}") from None
            except ValueError:
                value, end = None, len(self._buffer)
                # The item is parsed again from its start each time: reading half of its length in
                # addition keeps the total work linear.
                pending = end - self._position
                if self._read_more(pending // 2 if pending > _LONG_ITEM_LENGTH else 1):
                    continue
                raise NotItemsError("no JSON") from None
            # A number may go on in the next block: 2.5e is followed by no comma yet.
            if self._buffer[end : end + 1] in _VALUE_ENDS or not self._read_more():
                self._position = end
                return value

    def _read_more(self, min_chars: int = 1) -> bool:
        """Append blocks of at least `min_chars` characters to the buffer; False if there are none.

        The consumed part of the buffer is dropped. NotItemsError for an item that is too long.
        """
        if len(self._buffer) - self._position > MAX_ITEM_LENGTH:
            raise NotItemsError(f"an item has more than {MAX_ITEM_LENGTH} characters")
        pieces = [self._buffer[self._position :]]
        size = 0
        while size < min_chars and (block := next(self._blocks, None)) is not None:
            try:
                pieces.append(self._decoder.decode(block))
            except UnicodeDecodeError:
                raise NotItemsError("no UTF-8") from None
            size += max(1, len(pieces[-1]))
        self._buffer = "".join(pieces)
        self._position = 0
        return len(pieces) > 1


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

    def page(self, query: QueryParams) -> tuple[ListPage, Answer]:
        """The page that a query gives, and its answer; RemoteError."""
        answer = self.fetch(ClientCall("GET", self.path, query=query, repeatable=True))
        return parse_page(self.dialect, answer, self.shape), answer


def parse_page(dialect: Dialect, answer: Answer, shape: AnswerShape = ANYTHING) -> ListPage:
    """The page in an answer; UnexpectedAnswer for anything else, or items of another shape."""
    if answer.parse_fault_or_empty and answer.body.strip():
        problem = f"the answer cannot be read: {answer.parse_fault_or_empty}"
        raise failures.unexpected_answer(answer, problem)
    page = dialect.parse_page_or_none(answer.masked_json_or_none)
    if page is None:
        raise failures.unexpected_answer(answer, "neither a list nor a page of one")
    for item in page.items if shape is not ANYTHING else ():
        if not isinstance(item, dict):
            raise failures.unexpected_answer(answer, "the list has items that are not objects")
        if fault := shape.find_fault(item):
            raise failures.unexpected_answer(answer, f"of an item in the list: {fault}")
    return page


def iter_pages(list_query: ListQuery, max_pages: int) -> Iterator[ListPage]:
    """Each page of a list, requested when it is needed.

    UnexpectedAnswer for more than `max_pages` pages, or if the links form a circle.
    """
    query = list_query.first_page_query
    seen_queries: set[tuple[tuple[str, str], ...]] = set()
    while True:
        seen_queries.add(_build_query_key(query))
        page, answer = list_query.page(query)
        yield page
        if page.next_query is None:
            return
        # Our own filters are kept: some servers leave them out of `next`, which would then lead to
        # the unfiltered list.
        query = {**query, **dict(page.next_query)}
        if _build_query_key(query) in seen_queries:
            raise failures.unexpected_answer(answer, "its pages form a loop")
        if len(seen_queries) >= max_pages:
            raise failures.unexpected_answer(answer, f"it has more than {max_pages} pages")


def iter_streamed_list_items_of_all_pages(
    stream: Stream, path: str, names: tuple[str, ...], max_pages: int
) -> Iterator[Any]:
    """The items of the list at `path` as they arrive, of all its pages.

    `names` are the keys under which an object may hold the list. UnexpectedAnswer for more
    than `max_pages` pages, links in a circle, or an answer that is no list.
    """
    query: tuple[tuple[str, str], ...] | None = ()
    seen_queries: set[tuple[tuple[str, str], ...]] = set()
    while query is not None:
        if len(seen_queries) >= max_pages:
            raise UnexpectedAnswer(f"GET {path}: the list has more than {max_pages} pages")
        call = ClientCall("GET", path, query=query, repeatable=True, accept="application/json")
        if query in seen_queries:
            raise UnexpectedAnswer(f"{call}: its pages form a loop")
        seen_queries.add(query)
        answers: list[Answer] = []
        try:
            # Who stops reading, or cannot go on, gives the connection back.
            with closing(stream(call, answers.append)) as pieces:
                items = JsonItems(pieces, names)
                yield from items
        except NotItemsError as failure:
            raise failures.unexpected_answer(answers[-1], f"the answer is {failure}") from None
        next_link = items.other_values.get("next")
        query = parse_query_of_link(next_link) if next_link and isinstance(next_link, str) else None


def _build_query_key(query: QueryParams) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, str(value)) for key, value in query.items()))


# When a paginated list counts as read completely, although it may change between two pages.
#
# An item inserted or deleted meanwhile moves others across page boundaries, where a reader misses
# them. A plan takes a missing item for one to create, so that complete lists are read twice and
# compared.

_MAX_READINGS = 6
# After this many readings pages are read one after the other: on a busy server parallel pages may
# never all report the same count.
_PARALLEL_READINGS = 3
_MAX_LIGHT_PAGE = 1024 * 1024


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

    UnexpectedAnswer if no two such readings follow each other, or if there are always fewer
    items than the server reports.
    """
    previous_ids: set[Any] | None = None
    for number in range(_MAX_READINGS):
        if number == _PARALLEL_READINGS:
            list_query = replace(list_query, max_parallel=1)
        reading = _Reading(list_query, max_weight)
        reading.read(max_pages)
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
    problem = "the list changes during the read, or has fewer items than it says; try again later"
    raise failures.unexpected_answer(reading.last_answer, problem)


def read_list_once(
    list_query: ListQuery,
    max_pages: int,
    is_first_page_useful: PageCheck,
    max_weight: int = MAX_LIST_WEIGHT,
) -> list[Any] | None:
    """The items of a single reading: each of them exists, but others may have been missed.

    None if the list has more than `max_pages` pages, or if `is_first_page_useful` is false for the
    items of the first page.
    """
    reading = _Reading(list_query, max_weight)
    return reading.items if reading.read(max_pages, is_first_page_useful) else None


class _Reading:
    """One reading of all pages of a list; `is_sound`: it has as many items as the server reports.

    UnexpectedAnswer once the pages together exceed `max_weight` (see `Answer.parsed_weight`).
    """

    last_answer: Answer

    def __init__(self, list_query: ListQuery, max_weight: int) -> None:
        self._query = replace(list_query, fetch=self._fetch)
        self._fetch_unlimited = list_query.fetch
        self._max_weight = self._weight_left = max_weight
        self._lock = Lock()
        self.items: list[Any] = []
        self.ids: set[Any] = set()
        self.page_count = 0
        self.is_sound = True

    def read(self, max_pages: int, is_first_page_useful: PageCheck | None = None) -> bool:
        """Read each page once.

        False with `is_first_page_useful` if it was not, or if there are too many pages.
        """
        pages = iter_pages(self._query, max_pages)
        page = self._add(next(pages))
        page_numbers = self._later_page_numbers(page)
        if is_first_page_useful is not None and (
            len(page_numbers) >= max_pages or not is_first_page_useful(page.items)
        ):
            return False
        # Pages that are fat are held one at a time.
        is_light = len(self.last_answer.body) <= _MAX_LIGHT_PAGE
        try:
            if 0 < len(page_numbers) < max_pages and self._query.max_parallel > 1 and is_light:
                self._read_in_parallel(page, page_numbers)
                return True
            for later_page in pages:
                page = self._add(later_page)
                if is_first_page_useful is not None and self.page_count >= max_pages:
                    return False
            self.is_sound = page.total_count is None or len(self.items) >= page.total_count
        except NotFound:
            # The first page promised it: so many items were deleted meanwhile that it is gone.
            self.is_sound = False
        return True

    def _fetch(self, call: ClientCall) -> Answer:
        answer = self._fetch_unlimited(call)
        with self._lock:
            self._weight_left -= answer.parsed_weight
            is_too_heavy = self._weight_left < 0
        if is_too_heavy:
            problem = (
                f"its pages together take more than {self._max_weight // 1024**2} MiB, which is "
                "over the limit for one list. Check that this is the right server, and that it "
                "supports page numbers"
            )
            raise failures.unexpected_answer(answer, problem, TooLarge)
        # Only the last: answers of a long list would fill the memory.
        self.last_answer = answer
        return answer

    def _add(self, page: ListPage) -> ListPage:
        """Add a page's items, but those whose id was met: an insertion pushed them there."""
        self.page_count += 1
        for item in page.items:
            identity = item.get("id") if isinstance(item, Mapping) else None
            if isinstance(identity, (str, int)):
                if identity in self.ids:
                    continue
                self.ids.add(identity)
            self.items.append(item)
        return page

    def _later_page_numbers(self, first_page: ListPage) -> range:
        """The numbers of the pages after the first; empty if they cannot be read by number."""
        page_param, first_query = (
            self._query.dialect.page_number_param,
            self._query.first_page_query,
        )
        total_count, next_query = first_page.total_count, first_page.next_query
        if not page_param or not first_page.items or total_count is None or next_query is None:
            return range(0)
        # Only a `next` link that is our own query plus `page=2` shows that the server counts pages
        # as we would.
        if {**first_query, **dict(next_query)} != {**first_query, page_param: "2"}:
            return range(0)
        # Divided and rounded up.
        return range(2, -(-total_count // len(first_page.items)) + 1)

    def _read_in_parallel(self, first_page: ListPage, page_numbers: range) -> None:
        """Read the pages of these numbers at the same time, and add them in order."""
        query = self._query

        def fetch_page(number: int) -> ListPage:
            page_param = query.dialect.page_number_param
            return query.page({**query.first_page_query, page_param: str(number)})[0]

        # All pages before any is added: `is_sound` compares the counts of all of them.
        with open_thread_pool(min(query.max_parallel, len(page_numbers))) as pool:
            pages = list(pool.map(fetch_page, page_numbers))
        for page in pages:
            self._add(page)
        is_count_stable = all(page.total_count == first_page.total_count for page in pages)
        is_complete = pages[-1].next_query is None
        self.is_sound = (
            is_count_stable and is_complete and len(self.items) >= (first_page.total_count or 0)
        )
