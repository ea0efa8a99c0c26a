"""Where every key and item of a document stands, kept small: a tree of marks beside the value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synapse_apply.model.diagnostic import Path, Position

# A mark packs line and column (both from 0) into one integer; a place is a mark, or for a map or
# a list the pair of its mark and the places inside.
Mark = int
Place = Any
COLUMN_BITS = 32
_COLUMN_MASK = (1 << COLUMN_BITS) - 1


def mark(line: int, column: int) -> Mark:
    """Line and column, both from 0, as one integer."""
    return line << COLUMN_BITS | column


def unmarked(packed: Mark) -> tuple[int, int]:
    """Line and column of a mark, both from 1."""
    return (packed >> COLUMN_BITS) + 1, (packed & _COLUMN_MASK) + 1


def position_of(file: str, place: Place) -> Position:
    """Where a place is in a file."""
    packed = place[0] if type(place) is tuple else place
    return Position(file, (packed >> COLUMN_BITS) + 1, (packed & _COLUMN_MASK) + 1)


class Positions(Mapping[Path, Position]):
    """Path to Position, worked out when asked: most documents are never asked."""

    __slots__ = ("_file", "_root")

    def __init__(self, file: str, root: Place) -> None:
        """`root` is the document's place."""
        self._file = file
        self._root = root

    def __getitem__(self, path: Path) -> Position:
        place = self._root
        for part in path:
            inside: Any = place[1] if isinstance(place, tuple) else ()
            if part in inside if isinstance(inside, dict) else _is_index(part, inside):
                place = inside[part]
            else:
                raise KeyError(path)
        return position_of(self._file, place)

    def __iter__(self) -> Iterator[Path]:
        waiting: list[tuple[Path, Place]] = [((), self._root)]
        while waiting:
            path, place = waiting.pop()
            yield path
            inside = place[1] if isinstance(place, tuple) else ()
            pairs = inside.items() if isinstance(inside, dict) else enumerate(inside)
            waiting.extend(((*path, part), below) for part, below in pairs)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        # A document always has a place. Without this a test for truth counts all of them.
        return True


def _is_index(part: str | int, inside: Sequence[Place]) -> bool:
    return isinstance(part, int) and 0 <= part < len(inside)


def nearest(positions: Mapping[Path, Position], path: Path) -> Position | None:
    """The position of a path, or of the nearest thing above it that has one."""
    while path:
        if path in positions:
            return positions[path]
        path = path[:-1]
    return positions.get(())
