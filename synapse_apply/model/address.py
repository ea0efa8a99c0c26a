"""The address of a resource: `plugin/yolo`, `release/yolo@1.2.0`, `storage/raw-data`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import total_ordering
from operator import attrgetter

from synapse_apply.model.frozen import frozen


@total_ordering
@frozen
class Address:
    """A kind's prefix and a name that is unique within the kind; load-bearing in state."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self.name == other.name and self.kind == other.kind

    def __hash__(self) -> int:
        # The name's own is kept by Python; names of two kinds that are alike are few.
        return hash(self.name)

    def __lt__(self, other: Address) -> bool:
        return (self.kind, self.name) < (other.kind, other.name)

    @classmethod
    def parse(cls, text: str) -> Address:
        """`kind/name` as an Address; ValueError when it is not of that form."""
        kind, slash, name = text.partition("/")
        if not (slash and kind and name):
            raise ValueError(f"an address is KIND/NAME, for example plugin/yolo: {text!r}")
        return cls(kind, name)


def is_pattern(text: str) -> bool:
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


def sort_addresses(addresses: Iterable[Address]) -> list[Address]:
    """As `sorted` does, for many: it compares each pair, which is slow for a class of ours."""
    return sorted(addresses, key=attrgetter("kind", "name"))
