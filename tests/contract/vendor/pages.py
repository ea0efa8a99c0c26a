"""Lists of v1: filters, order and pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from contract.vendor.web import Refusal, Reply, Request

Item = dict[str, Any]
Filter = Callable[[Item, str], bool]
LARGEST_PAGE = 100  # [P]


def list_items(
    request: Request,
    items: Iterable[Item],
    show: Callable[[Item], Item],
    filters: Mapping[str, Filter] = {},
    default_size: int = 20,
) -> Reply:
    """One page of what the filters leave, newest first [Sm].

    A filter that the list does not have is passed over without a word, and so are
    `created_after` and `created_before`, which are declared and do not narrow [Sm].
    """
    matches = list(items)
    for name, value in request.query:
        keep = {**_COMMON, **filters}.get(name)
        if keep is not None:
            matches = [item for item in matches if keep(item, value)]
    matches = _in_order(matches, request.parameter("ordering") or "-created")
    return _page(request, matches, show, default_size)


def _in_order(items: list[Item], ordering: str) -> list[Item]:
    if ordering.removeprefix("-") != "created":
        ordering = "-created"
    # Moments are not unique [Sm]: among those of one it is the order of their making.
    return sorted(items, key=lambda one: (one["created"], one["seq"]), reverse=ordering[0] == "-")


def _page(
    request: Request, items: list[Item], show: Callable[[Item], Item], default_size: int
) -> Reply:
    size = _number(request.parameter("page_size"), default_size)
    size = min(size, LARGEST_PAGE)
    number = _number(request.parameter("page"), 1)
    last = max(1, -(-len(items) // size))
    if number > last or (request.parameter("page") or "1") == "0":
        raise Refusal(404, {"detail": request.say("invalid page")})

    def link(to: int) -> str | None:
        if not 1 <= to <= last:
            return None
        query = {**dict(request.query), "page": str(to)}
        return f"{request.origin}{request.path}?{urlencode(query)}"

    results = [show(item) for item in items[(number - 1) * size : number * size]]
    page = {
        "count": len(items),
        "next": link(number + 1),
        "previous": link(number - 1),
        "results": results,
    }
    return Reply(200, page)


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() and int(text) else otherwise


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refusal(400, {"created": ["Enter a valid date/time."]}) from None
    return moment.astimezone()


_COMMON: dict[str, Filter] = {
    # Every model has these two [Sm].
    "ids": lambda item, value: str(item["id"]) in value.split(","),
    "ids_ex": lambda item, value: str(item["id"]) not in value.split(","),
    # Measured on tasks; the filters' base class makes it a rule [Sm].
    "created__gte": lambda item, value: bool(item["created"] >= _moment(value)),
    "created__lt": lambda item, value: bool(item["created"] < _moment(value)),
}
