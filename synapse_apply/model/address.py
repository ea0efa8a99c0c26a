"""What an address is (`plugin/yolo`, `release/yolo@1.2.0`), and which pattern matches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Address(NamedTuple):
    """A kind's prefix and a name that is unique within the kind; the key of records in a state.

    A tuple, since a plan hashes and compares addresses more often than anything else.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address of a text `kind/name`; raises ValueError for another form."""
        kind, slash, name = text.partition("/")
        if not (slash and kind and name):
            raise ValueError(f"an address is KIND/NAME, for example plugin/yolo: {text!r}")
        return cls(kind, name)


def has_wildcard(text: str) -> bool:
    """Whether a text has a `*`, and so may match several addresses."""
    return "*" in text


def matches_selector(
    selector: str,
    name: str,
    labels: Mapping[str, str],
    matches: Callable[[str, str], bool],
) -> bool:
    """Whether a target meets all conditions of `tier=gold,*-eu`: labels, patterns of its name."""
    for condition in selector.split(","):
        key, equals, value = condition.partition("=")
        text = labels.get(key) if equals else name
        if text is None or not matches(text, value if equals else condition):
            return False
    return True


def matches_pattern(text: str, pattern: str) -> bool:
    """Whether a pattern matches a text; only `*` is special, and matches any text."""
    pieces = pattern.split("*")
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return text == pattern
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    # Leftmost matches of the middle pieces suffice: no backtracking, so no pattern is slow.
    offset, end = len(first), len(text) - len(last)
    for piece in pieces[1:-1]:
        offset = text.find(piece, offset, end)
        if offset < 0:
            return False
        offset += len(piece)
    return True
