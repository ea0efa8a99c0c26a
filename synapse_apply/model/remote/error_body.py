"""How error bodies of DRF, FastAPI and API v2 are read as messages by field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.secrets.masked_text import MaskedText

# What a page of HTML in place of an error body is told as, perhaps with its title.
HTML_PAGE = "an HTML page"
# Keys whose messages are about the whole object, not a field of this name.
_GENERAL_KEYS = frozenset({"detail", "non_field_errors", "__all__", "message", "error"})
# FastAPI puts the part of the request before the field's path.
_LOCATION_NAMES = frozenset({"body", "query", "path", "header"})
_MAX_DEPTH = 12
# Field names of the API; keys and tokens have capitals, or digits between letters.
_FIELD_NAME = re.compile(r"[a-z]+[0-9]?(_[a-z]+[0-9]?)*")


def format_safe_name(path: FieldPath) -> str:
    """A field's path such as `configuration.region`; "" where a part may be a sent value."""
    return format_field_path(path) if all(map(_is_safe_part, path)) else ""


def _is_safe_part(part: Any) -> bool:
    if isinstance(part, int):
        return True
    # In a free-form map a key may be a value that was sent.
    return not isinstance(part, MaskedText) and _FIELD_NAME.fullmatch(part) is not None


def parse_field_errors(body: Any) -> dict[FieldPath, tuple[str, ...]]:
    """The messages of an error body by field path, in the form of DRF, FastAPI or API v2.

    The path `()` is the whole request. Never raises: unknown forms are left out.
    """
    texts_by_path: dict[FieldPath, list[str]] = {}
    for path, text in _iter_error_texts(body):
        # The same text may come from several validators.
        if text not in texts_by_path.setdefault(path, []):
            texts_by_path[path].append(text)
    return {path: tuple(texts) for path, texts in texts_by_path.items()}


def _iter_error_texts(body: Any) -> Iterator[tuple[FieldPath, str]]:
    if not isinstance(body, Mapping):
        yield from _iter_drf_errors(body, ())
        return
    detail, error_object = body.get("detail"), body.get("error")
    if isinstance(detail, list) and any(isinstance(item, Mapping) for item in detail):
        yield from _iter_fastapi_errors(detail)
    elif isinstance(error_object, Mapping):
        yield from _iter_envelope_errors(error_object)
    else:
        yield from _iter_drf_errors(body, ())


def _iter_drf_errors(value: Any, path: FieldPath) -> Iterator[tuple[FieldPath, str]]:
    if len(path) > _MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _iter_drf_errors(inner, path if key in _GENERAL_KEYS else (*path, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            # DRF lists texts for one field, and maps for the items of a list field.
            nested = isinstance(inner, Mapping | list)
            yield from _iter_drf_errors(inner, (*path, index) if nested else path)
    elif isinstance(value, str) and value:
        yield path, value  # numbers and flags explain nothing


def _iter_fastapi_errors(items: list[Any]) -> Iterator[tuple[FieldPath, str]]:
    for item in items:
        if not isinstance(item, Mapping):
            continue
        location = item.get("loc")
        parts = location if isinstance(location, list) else []
        path = tuple(part for part in parts if isinstance(part, str | int))
        if path and path[0] in _LOCATION_NAMES:
            path = path[1:]
        yield path, str(item.get("msg") or item.get("type") or "invalid")


def _iter_envelope_errors(error_object: Mapping[str, Any]) -> Iterator[tuple[FieldPath, str]]:
    if message := error_object.get("message") or error_object.get("code"):
        yield (), str(message)
    details = error_object.get("details")
    for item in details if isinstance(details, list) else []:
        if isinstance(item, Mapping) and item.get("message"):
            name = item.get("field")
            path = tuple(name.split(".")) if isinstance(name, str) and name else ()
            yield path, str(item["message"])
