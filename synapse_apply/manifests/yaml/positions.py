"""How the positions of keys and items are stored: a tree of packed integers beside the value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.model.diagnostic import FieldPath, Position

# A mark packs line and column (both from 0) into one integer. A position tree is a mark, or for a
# map or list the pair of its mark and the trees inside. Small integers keep large files cheap.
Mark = int
PositionTree = Any
COLUMN_BITS = 32
_COLUMN_MASK = (1 << COLUMN_BITS) - 1


def pack_mark(line: int, column: int) -> Mark:
    """Line and column, both from 0, as one integer."""
    return line << COLUMN_BITS | column


def unpack_mark(packed: Mark) -> tuple[int, int]:
    """Line and column of a mark, both from 1, as Position has them."""
    return (packed >> COLUMN_BITS) + 1, (packed & _COLUMN_MASK) + 1


def build_position(file: str, tree: PositionTree) -> Position:
    """The Position of the root of a position tree."""
    packed = tree[0] if type(tree) is tuple else tree
    return Position(file, (packed >> COLUMN_BITS) + 1, (packed & _COLUMN_MASK) + 1)


class LazyPositions(Mapping[FieldPath, Position]):
    """Maps a path to its Position, which is built when asked for: most never are."""

    __slots__ = ("_file", "_root")

    def __init__(self, file: str, root: PositionTree) -> None:
        """`root` is the document's position tree."""
        self._file = file
        self._root = root

    def __getitem__(self, path: FieldPath) -> Position:
        node = self._root
        for part in path:
            children: Any = node[1] if isinstance(node, tuple) else ()
            if (
                part in children
                if isinstance(children, dict)
                else (isinstance(part, int) and 0 <= part < len(children))
            ):
                node = children[part]
            else:
                raise KeyError(path)
        return build_position(self._file, node)

    def __iter__(self) -> Iterator[FieldPath]:
        pending: list[tuple[FieldPath, PositionTree]] = [((), self._root)]
        while pending:
            path, node = pending.pop()
            yield path
            children = node[1] if isinstance(node, tuple) else ()
            pairs = children.items() if isinstance(children, dict) else enumerate(children)
            pending.extend(((*path, part), child) for part, child in pairs)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        # Never empty; without this, a test for truth would count all positions through __len__.
        return True
