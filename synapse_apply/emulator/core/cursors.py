"""Pages by cursor, as API v2 has them: a position by id, so that inserts shift nothing."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal
from urllib.parse import urlencode

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.errors import ApiError, not_found
from synapse_apply.emulator.core.facts import Fact, Mark
from synapse_apply.emulator.core.fields import Body, Field, check
from synapse_apply.emulator.core.store import Kind, Row, Wanted

DEFAULT_SIZE = 50
LARGEST_SIZE = 200
_FORWARD: Final = "a"  # what comes after an id
_BACK: Final = "b"  # what comes before it

FACTS = (
    Fact("A list is walked with `cursor`, which is opaque, and `per_page`.", Mark.DOCUMENTED),
    Fact(
        f"`per_page` is {DEFAULT_SIZE} unless asked, at most {LARGEST_SIZE}; more is cut to that.",
        Mark.OBSERVED,
    ),
    Fact(
        "A cursor is a place between two objects: what is made or deleted meanwhile neither hides "
        "nor repeats another.",
        Mark.GUESSED,
    ),
    Fact("A cursor that is none is 404.", Mark.GUESSED),
    Fact("A filter with a value that cannot be is 400.", Mark.GUESSED),
)


def answer_cursors(
    call: Call,
    kind: Kind,
    wanted: Wanted,
    show: Callable[[Row], Any],
    keep: Callable[[Row], bool],
) -> Answer:
    """One page of the wanted objects that are kept. Raises ApiError (404) for a bad cursor."""
    size = _size(call.query.get("per_page", ""))
    way, at = _read(call.query.get("cursor", ""))
    is_back = way == _BACK
    turned = dataclasses.replace(wanted, newest_first=wanted.newest_first != is_back, beyond=at)
    found = filter(keep, call.backend.store.walk(kind, turned))
    rows = list(itertools.islice(found, size + 1))
    is_more = len(rows) > size
    rows = rows[:size]
    if is_back:
        rows.reverse()
    has_next, has_previous = (True, is_more) if is_back else (is_more, at is not None)
    following = _written(_FORWARD, rows[-1]) if rows and has_next else None
    previous = _written(_BACK, rows[0]) if rows and has_previous else None
    items = [show(row) for row in rows]
    if call.backend.switches.is_on("v2_answers", "plain"):
        links = {"next": _link(call, following), "previous": _link(call, previous)}
        return Answer({**links, "results": items})
    pagination = {"next_cursor": following, "previous_cursor": previous, "per_page": size}
    return Answer(items, meta={"pagination": pagination})


def filters(call: Call, fields: Iterable[Field]) -> dict[str, Any]:
    """What a list is narrowed by; empty values narrow nothing. Raises ApiError (400)."""
    return check(fields, Body({name: text for name, text in call.query.items() if text}))


def _size(text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or int(text) == 0:
        return DEFAULT_SIZE
    return min(int(text), LARGEST_SIZE)


def _written(way: Literal["a", "b"], row: Row) -> str:
    return base64.urlsafe_b64encode(f"{way}{row.id}".encode()).decode()


def _read(text: str) -> tuple[str, int | None]:
    if not text:
        return _FORWARD, None
    try:
        place = base64.b64decode(text.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise _no_cursor() from None
    way, number = place[:1], place[1:]
    if way not in (_FORWARD, _BACK) or not number.isdecimal() or len(number) > 18:
        raise _no_cursor()
    return way, int(number)


def _no_cursor() -> ApiError:
    return not_found("Invalid cursor")


def _link(call: Call, cursor: str | None) -> str | None:
    return f"{call.url}?{urlencode({**call.query, 'cursor': cursor})}" if cursor else None
