"""Pages by number: `{count, next, previous, results}`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.errors import not_found
from synapse_apply.emulator.core.facts import Fact, Mark

DEFAULT_SIZE = 20
LARGEST_SIZE = 100

FACTS = (
    Fact("Lists are pages `{count, next, previous, results}`; `next` is absolute.", Mark.OBSERVED),
    Fact(
        f"`page_size` is {DEFAULT_SIZE} unless asked, at most {LARGEST_SIZE}; more is cut to that.",
        Mark.GUESSED,
    ),
    Fact("A page beyond the last is 404; `limit` and `offset` are passed over.", Mark.GUESSED),
)


def answer_page(call: Call, count: int, fetch: Callable[[int, int], Sequence[Any]]) -> Answer:
    """One page; `fetch(limit, offset)` gives its items. Raises ApiError (404) beyond the last."""
    size = _size(call.query.get("page_size", ""))
    last = max(1, -(-count // size))
    wanted = call.query.get("page", "1")
    if wanted == "last":
        number = last
    elif wanted.isdecimal() and len(wanted) < 10 and 1 <= int(wanted) <= last:
        number = int(wanted)
    else:
        raise not_found("Invalid page.")
    return Answer(
        {
            "count": count,
            "next": _link(call, number + 1) if number < last else None,
            "previous": _link(call, number - 1) if number > 1 else None,
            "results": list(fetch(size, (number - 1) * size)),
        }
    )


def _size(text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or int(text) == 0:
        return DEFAULT_SIZE
    return min(int(text), LARGEST_SIZE)


def _link(call: Call, number: int) -> str:
    return f"{call.url}?{urlencode({**call.query, 'page': number})}"
