"""Lists that come in pages, walked without trust in the links they carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from synapse_apply.client import failures
from synapse_apply.client.answers import Answer
from synapse_apply.client.calls import Call
from synapse_apply.client.dialects.v1 import PAGE_SIZE, Page, read_page

Params = Mapping[str, Any]
Fetch = Callable[[Call], Answer]


def page_in(call: Call, answer: Answer) -> Page:
    """The page an answer is; UnexpectedAnswerError when it is none."""
    page = read_page(answer.parsed)
    if page is None:
        raise failures.unexpected(call, answer, "neither a list nor a page of one")
    return page


def walk(fetch: Fetch, path: str, params: Params | None, most: int) -> Iterator[Page]:
    """Every page of a list, at most `most`; UnexpectedAnswerError when the links go in a circle."""
    query: dict[str, Any] = {"page_size": PAGE_SIZE, **(params or {})}
    seen: set[tuple[tuple[str, str], ...]] = set()
    while True:
        call = Call("GET", path, query=query, repeatable=True)
        seen.add(_key(query))
        answer = fetch(call)
        page = page_in(call, answer)
        yield page
        if page.following is None:
            return
        # Our own filters stay: a `next` without them would lead into another list.
        query = {**query, **dict(page.following)}
        if _key(query) in seen:
            raise failures.unexpected(call, answer, "its pages go in a circle")
        if len(seen) >= most:
            raise failures.unexpected(call, answer, f"it has more than {most} pages")


def whole(fetch: Fetch, path: str, params: Params | None, most: int) -> list[Any]:
    """All items of a list, each once by its `id`.

    A list that changes while it is read can hide an item behind the seam of two pages, and a
    missing item is read as one to create: when there are fewer than the server counts, the list
    is read once more.
    """
    items: list[Any] = []
    for _attempt in range(2):
        total, items = None, []
        seen: set[Any] = set()
        for page in walk(fetch, path, params, most):
            total = page.total
            items += [item for item in page.items if _is_new(item, seen)]
        if total is None or len(items) >= total:
            break
    return items


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
