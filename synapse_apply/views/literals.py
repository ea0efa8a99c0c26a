"""JSON values and our markers as people read them in a plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from synapse_apply.model.values import (
    ABSENT,
    KnownAfterApply,
    Mac,
    Reference,
    SecretRef,
    SecretWant,
    Sensitive,
    Withheld,
)
from synapse_apply.views.cells import cells
from synapse_apply.views.safety import clean, clean_lines, quote

SENSITIVE = "(sensitive)"
SECRETS = (Sensitive, SecretRef, SecretWant, Mac, Withheld)
# A longer string is shown in part: a plan is read by people, JSON has the whole.
LONGEST = 400
MOST_LINES = 24
MOST_ITEMS = 50
_DEEPEST = 30
_KEY_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


def key_text(part: str | int) -> str:
    """A map's key: bare where that cannot be misread, else quoted."""
    text = str(part)
    bare = bool(text) and (set(text) <= _KEY_CHARS or text.isalnum())
    return text if bare else quote(text)


def inline(value: Any, depth: int = 0) -> str:
    """A value on one line; a secret as `(sensitive)`, a map as `{ a = 1 }`."""
    if isinstance(value, SECRETS):
        return SENSITIVE
    if value is None or value is ABSENT:
        return "null"
    if isinstance(value, str):
        return quote(value) if len(value) <= LONGEST else clip(value, 0)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping | list | tuple):
        return _nested(value, depth)
    return _other(value)


def _nested(value: Any, depth: int) -> str:
    if not value:
        return "{}" if isinstance(value, Mapping) else "[]"
    if depth >= _DEEPEST:
        return "{ ... }" if isinstance(value, Mapping) else "[ ... ]"
    if isinstance(value, Mapping):
        pairs = (f"{key_text(key)} = {inline(item, depth + 1)}" for key, item in ordered(value))
        return "{ " + ", ".join(pairs) + " }"
    return "[" + ", ".join(inline(item, depth + 1) for item in value) + "]"


def _other(value: Any) -> str:
    if isinstance(value, KnownAfterApply):
        return str(value)
    if isinstance(value, Reference):
        return clean(value.address)
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else repr(value).replace("inf", "Infinity")
    if isinstance(value, int):
        return number(value)
    # A type nobody foresaw may hold anything, so only its name is safe to print.
    return f"({type(value).__name__})"


def number(value: int) -> str:
    """An integer in full; hexadecimal where it is too long for Python to write in decimal."""
    return str(value) if value.bit_length() < 10_000 else hex(value)


def ordered(tree: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """A map's items in the order of their keys, so that a plan never depends on file order."""
    return sorted(tree.items(), key=lambda item: order_of(item[0]))


def order_of(part: str | int) -> tuple[bool, int, str]:
    """Numbers before names, each in their own order."""
    return (False, part, "") if isinstance(part, int) else (True, 0, str(part))


def clip(text: str, at: int) -> str:
    """The part of a long string around a place, with what is left out told."""
    start = max(0, at - LONGEST // 4)
    end = min(len(text), start + LONGEST)
    before = f"({start} characters) ..." if start else ""
    after = f"... ({len(text) - end} more characters)" if end < len(text) else ""
    return before + quote(text[start:end]) + after


def value_lines(value: Any, room: int) -> list[str]:
    """A value as lines: the first goes after `name = `, the others below the name.

    Short values take one line; text of several lines is a block, long lists and maps take a line
    an item.
    """
    if isinstance(value, str) and "\n" in value.strip("\n"):
        return text_block(value)
    line = inline(value)
    if cells(line) <= room or not isinstance(value, Mapping | list | tuple) or not value:
        return [line]
    return _spread(value, room)


def _spread(value: Any, room: int, depth: int = 0) -> list[str]:
    line = inline(value, depth)
    nested = isinstance(value, Mapping | list | tuple) and bool(value)
    if cells(line) <= room or not nested or depth >= _DEEPEST:
        return [line]
    is_map = isinstance(value, Mapping)
    body: list[str] = []
    items = ordered(value) if is_map else [("", item) for item in value]
    for name, item in items[:MOST_ITEMS]:
        head, *rest = _spread(item, max(20, room - 4), depth + 1)
        prefix = f"{key_text(name)} = " if is_map else ""
        body += ["    " + line for line in (prefix + head, *rest)]
        body[-1] += "" if is_map else ","
    if len(items) > MOST_ITEMS:
        body.append(f"    # ({len(items) - MOST_ITEMS} more)")
    return ["{" if is_map else "[", *body, "}" if is_map else "]"]


def text_block(text: str) -> list[str]:
    """Text of several lines behind a gutter, so that none of it can pass for a row of the plan."""
    lines = text_lines(text)
    head = f"({len(lines)} lines)"
    hidden = len(lines) - MOST_LINES
    tail = [f"# ({hidden} more lines)"] if hidden > 0 else []
    return [head, *(gutter(line) for line in lines[:MOST_LINES]), *("    " + t for t in tail)]


def text_lines(text: str) -> list[str]:
    """The clean lines of a text, each cut where it is very long."""
    lines = clean_lines(text.removesuffix("\n"))
    return [
        line if len(line) <= LONGEST else f"{line[:LONGEST]}... ({len(line) - LONGEST} more)"
        for line in lines
    ]


def gutter(line: str, mark: str = " ") -> str:
    """One line of a text block."""
    return f"  {mark} | {line}".rstrip()
