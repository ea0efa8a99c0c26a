"""How values are written in plans: HCL-like, secrets as `(sensitive)`, long ones cut."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from synapse_apply.model.values import (
    ABSENT,
    DesiredSecret,
    KnownAfterApply,
    Mac,
    Reference,
    SecretRef,
    Sensitive,
    WithheldSecret,
)
from synapse_apply.views.sanitize import quote_string, sanitize, sanitize_lines
from synapse_apply.views.text.cells import measure_width

SENSITIVE_TEXT = "(sensitive)"
SECRET_TYPES = (Sensitive, SecretRef, DesiredSecret, Mac, WithheldSecret)
# A longer string is cut; JSON documents have all of it.
MAX_VALUE_LENGTH = 400
MAX_TEXT_LINES = 24
MAX_ITEMS = 50
_MAX_DEPTH = 30
_BARE_KEY_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


@lru_cache(maxsize=1024)  # a plan shows the same few keys again and again
def quote_key(part: str | int) -> str:
    """A map's key, quoted unless it is a plain word."""
    text = str(part)
    # `isalnum` covers letters of other alphabets.
    is_bare = bool(text) and (set(text) <= _BARE_KEY_CHARS or text.isalnum())
    return text if is_bare else quote_string(text)


def format_value_inline(value: Any, depth: int = 0) -> str:
    """A value on one line: a secret as `(sensitive)`, a map as `{ a = 1 }`."""
    if type(value) is not str and isinstance(value, SECRET_TYPES):
        return SENSITIVE_TEXT
    if value is None or value is ABSENT:
        return "null"
    if isinstance(value, str):
        return quote_string(value) if len(value) <= MAX_VALUE_LENGTH else quote_around(value, 0)
    # Before the check for int, since Python's bool is one.
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping | list | tuple):
        if not value:
            return "{}" if isinstance(value, Mapping) else "[]"
        if depth >= _MAX_DEPTH:
            return "{ ... }" if isinstance(value, Mapping) else "[ ... ]"
        if isinstance(value, Mapping):
            pairs = (
                f"{quote_key(key)} = {format_value_inline(item, depth + 1)}"
                for key, item in sort_map_items(value)
            )
            return "{ " + ", ".join(pairs) + " }"
        return "[" + ", ".join(format_value_inline(item, depth + 1) for item in value) + "]"
    if isinstance(value, KnownAfterApply):
        return str(value)
    if isinstance(value, Reference):
        return sanitize(value.address)
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else repr(value).replace("inf", "Infinity")
    if isinstance(value, int):
        return format_integer(value)
    # A value of an unknown type may hold a secret, so only the type's name is safe to print.
    return f"({type(value).__name__})"


def format_integer(value: int) -> str:
    """An integer in decimal, or in hexadecimal where Python refuses to convert one so long."""
    return str(value) if value.bit_length() < 10_000 else hex(value)


def sort_map_items(tree: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """A map's items sorted by key, so that a plan does not depend on the order in files."""
    return sorted(tree.items(), key=lambda item: sort_key_of_value(item[0]))


def sort_key_of_value(part: str | int) -> tuple[bool, int, str]:
    """Sorts integers before texts."""
    return (False, part, "") if isinstance(part, int) else (True, 0, str(part))


def quote_around(text: str, position: int) -> str:
    """The quoted part of a long string around a position, with counts of what is left out."""
    # Some text before the position shows its context.
    start = max(0, position - MAX_VALUE_LENGTH // 4)
    end = min(len(text), start + MAX_VALUE_LENGTH)
    before = f"({start} characters) ..." if start else ""
    after = f"... ({len(text) - end} more characters)" if end < len(text) else ""
    return before + quote_string(text[start:end]) + after


def format_value_lines(value: Any, room: int) -> list[str]:
    """A value as lines: the first goes behind `name = `, the others below the name.

    Short values take one line; a text of several lines is a block, long lists and maps take a line
    for each item.
    """
    if isinstance(value, str) and "\n" in value.strip("\n"):
        return format_gutter_lines(value)
    line = format_value_inline(value)
    if measure_width(line) <= room or not isinstance(value, Mapping | list | tuple) or not value:
        return [line]
    return _format_expanded_lines(value, room)


def _format_expanded_lines(value: Any, room: int, depth: int = 0) -> list[str]:
    line = format_value_inline(value, depth)
    nested = isinstance(value, Mapping | list | tuple) and bool(value)
    if measure_width(line) <= room or not nested or depth >= _MAX_DEPTH:
        return [line]
    is_map = isinstance(value, Mapping)
    body: list[str] = []
    items = sort_map_items(value) if is_map else [("", item) for item in value]
    for name, item in items[:MAX_ITEMS]:
        first_line, *continuation = _format_expanded_lines(item, max(20, room - 4), depth + 1)
        prefix = f"{quote_key(name)} = " if is_map else ""
        body += ["    " + line for line in (prefix + first_line, *continuation)]
        body[-1] += "" if is_map else ","
    if len(items) > MAX_ITEMS:
        body.append(f"    # ({len(items) - MAX_ITEMS} more)")
    return ["{" if is_map else "[", *body, "}" if is_map else "]"]


def format_gutter_lines(text: str) -> list[str]:
    """A text of several lines behind a gutter, so that no line can be taken for a plan's row."""
    lines = split_into_cut_lines(text)
    head = f"({len(lines)} lines)"
    hidden_count = len(lines) - MAX_TEXT_LINES
    tail = [f"# ({hidden_count} more lines)"] if hidden_count > 0 else []
    return [
        head,
        *(prefix_mark_and_gutter(line) for line in lines[:MAX_TEXT_LINES]),
        *("    " + t for t in tail),
    ]


def split_into_cut_lines(text: str) -> list[str]:
    """The sanitized lines of a text, each cut at MAX_VALUE_LENGTH."""
    lines = sanitize_lines(text.removesuffix("\n"))
    return [
        line
        if len(line) <= MAX_VALUE_LENGTH
        else f"{line[:MAX_VALUE_LENGTH]}... ({len(line) - MAX_VALUE_LENGTH} more)"
        for line in lines
    ]


def prefix_mark_and_gutter(line: str, mark: str = " ") -> str:
    """One line of a text block, behind its mark and gutter."""
    return f"  {mark} | {line}".rstrip()
