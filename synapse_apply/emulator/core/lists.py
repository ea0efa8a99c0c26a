"""How lists are paginated and filtered: numbered pages on API v1, cursors on v2."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal
from urllib.parse import urlencode

from synapse_apply.emulator.core.backend import parse_iso_time_or_none
from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest
from synapse_apply.emulator.core.fields import (
    Body,
    Field,
    FieldValues,
    convert_sent_fields,
    not_found,
    wrong_field,
)
from synapse_apply.emulator.core.store import Kind, ObjectQuery, StoredObject

_ORDERS = frozenset({"created", "id"})
_FORWARD: Final = "a"  # the objects after an id
_BACKWARD: Final = "b"  # the objects before an id

Show = Callable[[StoredObject], Any]
Keep = Callable[[StoredObject], bool]


def build_page(
    request: EmulatorRequest, kind: Kind, query: ObjectQuery, show: Show, keep: Keep | None = None
) -> EmulatorAnswer:
    """One numbered page of the objects of a query, each as `show` gives it.

    `keep` chooses among them by what is no column. Raises ApiError (404) for a page beyond the
    last one, 400 for a filter that all lists of v1 take.
    """
    store, query = request.store, add_filters(request, query)
    kept = None if keep is None else list(filter(keep, store.select(kind, query)))
    count = store.count(kind, query) if kept is None else len(kept)
    size = _parse_page_size(request.query.get("page_size", ""), default=20, largest=100)
    # Rounded up; an empty list has one empty page.
    last_page = max(1, -(-count // size))
    page_text = request.query.get("page", "1")
    # Django REST framework has `?page=last` as well.
    if page_text == "last":
        number = last_page
    elif page_text.isdecimal() and len(page_text) < 10 and 1 <= int(page_text) <= last_page:
        number = int(page_text)
    else:
        raise not_found("Invalid page.")
    offset = (number - 1) * size
    if kept is None:
        rows = store.select(kind, query, limit=size, offset=offset)
    else:
        rows = kept[offset : offset + size]
    return EmulatorAnswer(
        {
            "count": count,
            "next": _build_url(request, page=number + 1) if number < last_page else None,
            "previous": _build_url(request, page=number - 1) if number > 1 else None,
            "results": list(map(show, rows)),
        }
    )


def add_filters(request: EmulatorRequest, query: ObjectQuery) -> ObjectQuery:
    """The query with the filters and the order that all lists of v1 take. Raises ApiError (400)."""
    if not request.has("filters", "platform"):
        return query
    ordering = request.query.get("ordering", "")
    has_order = ordering.removeprefix("-") in _ORDERS
    return dataclasses.replace(
        query,
        created_after=parse_time_filter(request, "created__gte"),
        created_before=parse_time_filter(request, "created__lt"),
        newest_first=ordering.startswith("-") if has_order else query.newest_first,
    )


def parse_time_filter(request: EmulatorRequest, name: str) -> float | None:
    """The time in a query parameter; None if it is not sent. Raises ApiError (400)."""
    text = request.query.get(name)
    if not text:
        return None
    moment = parse_iso_time_or_none(text)
    if moment is None:
        raise wrong_field(name, "Enter a valid date/time.")
    return moment


def build_cursor_page(
    request: EmulatorRequest, kind: Kind, query: ObjectQuery, show: Show, keep: Keep
) -> EmulatorAnswer:
    """One page of the objects of a query that `keep` accepts, each as `show` gives it.

    A cursor is a position between two ids, so that none shift. Raises ApiError (404) for an
    invalid one.
    """
    size = _parse_page_size(request.query.get("per_page", ""), default=50, largest=200)
    direction, boundary_id = _decode_cursor(request.query.get("cursor", ""))
    is_backward = direction == _BACKWARD
    page_query = dataclasses.replace(
        query, newest_first=query.newest_first != is_backward, start_after_id=boundary_id
    )
    # Filtered in Python: what v2 shows depends on more than the columns of a row.
    matching_rows = filter(keep, request.store.iter_objects(kind, page_query))
    # One more than the page, to know whether another page follows.
    rows = list(itertools.islice(matching_rows, size + 1))
    has_more = len(rows) > size
    rows = rows[:size]
    if is_backward:
        # Read backwards from the boundary, but shown in the order of the list.
        rows.reverse()
    has_next = is_backward or has_more
    has_previous = has_more if is_backward else boundary_id is not None
    next_cursor = _encode_cursor(_FORWARD, rows[-1]) if rows and has_next else None
    previous_cursor = _encode_cursor(_BACKWARD, rows[0]) if rows and has_previous else None
    items = list(map(show, rows))
    if request.has("v2_answers", "plain"):
        links = {
            "next": _build_url(request, cursor=next_cursor) if next_cursor else None,
            "previous": _build_url(request, cursor=previous_cursor) if previous_cursor else None,
        }
        return EmulatorAnswer({**links, "results": items})
    pagination = {"next_cursor": next_cursor, "previous_cursor": previous_cursor, "per_page": size}
    return EmulatorAnswer(items, meta={"pagination": pagination})


def convert_filters(request: EmulatorRequest, fields: Iterable[Field]) -> FieldValues:
    """The values of these filters in the query; an empty one is ignored. Raises ApiError (400)."""
    sent = {name: text for name, text in request.query.items() if text}
    return convert_sent_fields(fields, Body(sent))


def _parse_page_size(text: str, *, default: int, largest: int) -> int:
    # An unusable size counts as none, as in Django REST framework.
    if not text.isdecimal() or len(text) > 9 or int(text) == 0:
        return default
    return min(int(text), largest)


def _encode_cursor(direction: Literal["a", "b"], row: StoredObject) -> str:
    return base64.urlsafe_b64encode(f"{direction}{row.id}".encode()).decode()


def _decode_cursor(text: str) -> tuple[str, int | None]:
    """The direction and the boundary id in a cursor; without one those of the first page.

    Raises ApiError (404).
    """
    if not text:
        return _FORWARD, None
    try:
        position = base64.b64decode(text.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        position = ""
    direction, number = position[:1], position[1:]
    # More than 18 digits may not fit into an integer of SQLite.
    if direction not in (_FORWARD, _BACKWARD) or not number.isdecimal() or len(number) > 18:
        raise not_found("Invalid cursor")
    return direction, int(number)


def _build_url(request: EmulatorRequest, **parameters: object) -> str:
    """The URL of the request with other parameters."""
    return f"{request.url}?{urlencode({**request.query, **parameters})}"
