"""The address of a resource: `plugin/yolo`, `release/yolo@1.2.0`, `storage/raw-data`."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """A kind's prefix and a name that is unique within the kind; load-bearing in state.

    A tuple, since a plan hashes and compares addresses more often than anything else.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """`kind/name` as an Address; ValueError when it is not of that form."""
        kind, slash, name = text.partition("/")
        if not (slash and kind and name):
            raise ValueError(f"an address is KIND/NAME, for example plugin/yolo: {text!r}")
        return cls(kind, name)


def has_wildcard(text: str) -> bool:
    """Whether a text stands for several addresses."""
    return "*" in text


def matches_pattern(text: str, pattern: str) -> bool:
    """Whether a text is what a pattern stands for; only `*` is special, and fits any text."""
    pieces = pattern.split("*")
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return text == pattern
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    offset, end = len(first), len(text) - len(last)
    for piece in pieces[1:-1]:
        offset = text.find(piece, offset, end)
        if offset < 0:
            return False
        offset += len(piece)
    return True
