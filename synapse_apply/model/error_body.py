"""What servers say in an error body, by the field they say it of: DRF, FastAPI and API v2 forms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.model.diagnostic import Path
from synapse_apply.model.masked import MaskedText

# Keys under which servers put words about the whole object instead of one of its fields.
_GENERAL = frozenset({"detail", "non_field_errors", "__all__", "message", "error"})
# Where the field stood in the request, which FastAPI puts before the field's own path.
_PLACES = frozenset({"body", "query", "path", "header"})
_DEEPEST = 12
# Names of fields as the API has them; keys and tokens have capitals, or digits among their letters.
_NAME = re.compile(r"[a-z]+[0-9]?(_[a-z]+[0-9]?)*")


def field_name(path: Path) -> str:
    """A refused field as `configuration.region`; "" where a part may be a value that was sent."""
    return ".".join(map(str, path)) if all(map(_is_name, path)) else ""


def _is_name(part: Any) -> bool:
    if isinstance(part, int):
        return True
    return not isinstance(part, MaskedText) and _NAME.fullmatch(part) is not None


def field_errors(body: Any) -> dict[Path, tuple[str, ...]]:
    """Texts by field path, from an error body in the form of DRF, FastAPI or API v2.

    `()` is the request as a whole. Never raises: what has no known form is left out.
    """
    found: dict[Path, list[str]] = {}
    for path, text in _texts(body):
        if text not in found.setdefault(path, []):
            found[path].append(text)
    return {path: tuple(texts) for path, texts in found.items()}


def _texts(body: Any) -> Iterator[tuple[Path, str]]:
    if not isinstance(body, Mapping):
        yield from _drf(body, ())
        return
    detail, fault = body.get("detail"), body.get("error")
    if isinstance(detail, list) and any(isinstance(item, Mapping) for item in detail):
        yield from _fastapi(detail)
    elif isinstance(fault, Mapping):
        yield from _envelope(fault)
    else:
        yield from _drf(body, ())


def _drf(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if len(path) > _DEEPEST:
        return
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _drf(below, path if key in _GENERAL else (*path, str(key)))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            nested = isinstance(below, Mapping | list)
            yield from _drf(below, (*path, index) if nested else path)
    elif isinstance(value, str) and value:
        yield path, value  # a number or a flag is no word of explanation


def _fastapi(items: list[Any]) -> Iterator[tuple[Path, str]]:
    for item in items:
        if not isinstance(item, Mapping):
            continue
        place = item.get("loc")
        parts = place if isinstance(place, list) else []
        path = tuple(part for part in parts if isinstance(part, str | int))
        if path and path[0] in _PLACES:
            path = path[1:]
        yield path, str(item.get("msg") or item.get("type") or "invalid")


def _envelope(fault: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    if words := fault.get("message") or fault.get("code"):
        yield (), str(words)
    details = fault.get("details")
    for item in details if isinstance(details, list) else []:
        if isinstance(item, Mapping) and item.get("message"):
            name = item.get("field")
            path = tuple(name.split(".")) if isinstance(name, str) and name else ()
            yield path, str(item["message"])
