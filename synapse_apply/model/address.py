"""The address of a resource: `plugin/yolo`, `release/yolo@1.2.0`, `storage/raw-data`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import total_ordering


@total_ordering
@dataclass(frozen=True, slots=True)
class Address:
    """A kind's prefix and a name that is unique within the kind; load-bearing in state."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    def __lt__(self, other: Address) -> bool:
        return (self.kind, self.name) < (other.kind, other.name)

    @classmethod
    def parse(cls, text: str) -> Address:
        """`kind/name` as an Address; ValueError when it is not of that form."""
        kind, slash, name = text.partition("/")
        if not (slash and kind and name):
            raise ValueError(f"an address is KIND/NAME, for example plugin/yolo: {text!r}")
        return cls(kind, name)
