"""Pages by number: `{count, next, previous, results}`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.clock import parse_iso
from synapse_apply.emulator.core.errors import field_error, not_found
from synapse_apply.emulator.core.facts import Fact, Mark
from synapse_apply.emulator.core.store import Wanted

_ORDERS = frozenset({"created", "id"})
DEFAULT_SIZE = 20
LARGEST_SIZE = 100

FACTS = (
    Fact("Lists are pages `{count, next, previous, results}`; `next` is absolute.", Mark.OBSERVED),
    Fact(f"`page_size` is {DEFAULT_SIZE} unless asked.", Mark.GUESSED),
    Fact(f"`page_size` is at most {LARGEST_SIZE}; more is cut to that.", Mark.DESCRIBED),
    Fact(
        "With `filters=platform`, `created__gte`, `created__lt` and `ordering` (`created` or `id`, "
        "with `-` the other way) are read in every list of v1. Other filters that nobody knows are "
        "passed over without a word.",
        Mark.MEASURED,
    ),
    Fact("A page beyond the last is 404; `limit` and `offset` are passed over.", Mark.GUESSED),
)


def narrow(call: Call, wanted: Wanted) -> Wanted:
    """What a list shows, by the filters that every list has. Raises ApiError (400)."""
    newest = wanted.newest_first
    if not call.has("filters", "platform"):
        return wanted
    ordering = call.query.get("ordering", "")
    if ordering.removeprefix("-") in _ORDERS:
        newest = ordering.startswith("-")
    return replace(
        wanted,
        created_after=_read_time(call, "created__gte", wanted.created_after),
        created_before=_read_time(call, "created__lt", wanted.created_before),
        newest_first=newest,
    )


def _read_time(call: Call, name: str, default: float | None) -> float | None:
    text = call.query.get(name)
    if not text:
        return default
    moment = parse_iso(text)
    if moment is None:
        raise field_error(name, "Enter a valid date/time.")
    return moment


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
