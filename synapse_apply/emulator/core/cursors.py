"""How lists of API v2 are paginated: a cursor is a position between two ids, so that none shift."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlencode

from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest
from synapse_apply.emulator.core.fields import (
    ApiError,
    Body,
    Fact,
    FactSource,
    Field,
    FieldValues,
    build_not_found_error,
    convert_sent_fields,
)
from synapse_apply.emulator.core.store import Kind, ObjectQuery, StoredObject

DEFAULT_SIZE = 50
LARGEST_SIZE = 200
_FORWARD: Final = "a"  # the objects after an id
_BACKWARD: Final = "b"  # the objects before an id

FACTS = (
    Fact("A list is walked with `cursor`, which is opaque, and `per_page`.", FactSource.DOCUMENTED),
    Fact(
        f"`per_page` is {DEFAULT_SIZE} unless asked, at most {LARGEST_SIZE}; more is cut to that.",
        FactSource.OBSERVED,
    ),
    Fact(
        "A cursor is a place between two objects: what is made or deleted meanwhile neither hides "
        "nor repeats another.",
        FactSource.GUESSED,
    ),
    Fact("A cursor that is none is 404.", FactSource.GUESSED),
    Fact("A filter with a value that cannot be is 400.", FactSource.GUESSED),
)


def build_cursor_page(
    request: EmulatorRequest,
    kind: Kind,
    query: ObjectQuery,
    render_row: Callable[[StoredObject], Any],
    is_included: Callable[[StoredObject], bool],
) -> EmulatorAnswer:
    """One page of the objects of a query that `is_included` accepts, each as `render_row` gives it.

    Raises ApiError (404) for an invalid cursor.
    """
    size = _parse_page_size(request.query.get("per_page", ""))
    direction, boundary_id = _decode_cursor(request.query.get("cursor", ""))
    is_backward = direction == _BACKWARD
    page_query = dataclasses.replace(
        query, newest_first=query.newest_first != is_backward, start_after_id=boundary_id
    )
    # Filtered in Python: what v2 shows depends on more than the columns of a row.
    matching_rows = filter(is_included, request.backend.store.iter_objects(kind, page_query))
    # One more than the page, to know whether another page follows.
    rows = list(itertools.islice(matching_rows, size + 1))
    has_more = len(rows) > size
    rows = rows[:size]
    if is_backward:
        # Read backwards from the boundary, but shown in the order of the list.
        rows.reverse()
    has_next, has_previous = (
        (True, has_more) if is_backward else (has_more, boundary_id is not None)
    )
    next_cursor = _encode_cursor(_FORWARD, rows[-1]) if rows and has_next else None
    previous_cursor = _encode_cursor(_BACKWARD, rows[0]) if rows and has_previous else None
    items = [render_row(row) for row in rows]
    if request.backend.switches.has_value("v2_answers", "plain"):
        links = {
            "next": _build_page_url_or_none(request, next_cursor),
            "previous": _build_page_url_or_none(request, previous_cursor),
        }
        return EmulatorAnswer({**links, "results": items})
    pagination = {"next_cursor": next_cursor, "previous_cursor": previous_cursor, "per_page": size}
    return EmulatorAnswer(items, meta={"pagination": pagination})


def convert_filters(request: EmulatorRequest, fields: Iterable[Field]) -> FieldValues:
    """The values of these filters in the query; an empty one is ignored. Raises ApiError (400)."""
    return convert_sent_fields(
        fields, Body({name: text for name, text in request.query.items() if text})
    )


def _parse_page_size(text: str) -> int:
    # An unusable size counts as none, as in Django REST framework.
    if not text.isdecimal() or len(text) > 9 or int(text) == 0:
        return DEFAULT_SIZE
    return min(int(text), LARGEST_SIZE)


def _encode_cursor(direction: Literal["a", "b"], row: StoredObject) -> str:
    return base64.urlsafe_b64encode(f"{direction}{row.id}".encode()).decode()


class _Cursor(NamedTuple):
    direction: str
    boundary_id: int | None  # None for the first page


def _decode_cursor(text: str) -> _Cursor:
    """The cursor in a text, the first page for "". Raises ApiError (404)."""
    if not text:
        return _Cursor(_FORWARD, None)
    try:
        position = base64.b64decode(text.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise _build_cursor_error() from None
    direction, number = position[:1], position[1:]
    # More than 18 digits may not fit into an integer of SQLite.
    if direction not in (_FORWARD, _BACKWARD) or not number.isdecimal() or len(number) > 18:
        raise _build_cursor_error()
    return _Cursor(direction, int(number))


def _build_cursor_error() -> ApiError:
    return build_not_found_error("Invalid cursor")


def _build_page_url_or_none(request: EmulatorRequest, cursor: str | None) -> str | None:
    return f"{request.url}?{urlencode({**request.query, 'cursor': cursor})}" if cursor else None
