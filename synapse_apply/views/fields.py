"""The body of a block: field changes as a tree of aligned rows, secrets and unknowns told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from synapse_apply.model.diagnostic import Path
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.model.values import ABSENT, KnownAfterApply, is_map
from synapse_apply.views.cells import cells, pad
from synapse_apply.views.differences import difference
from synapse_apply.views.literals import (
    SECRETS,
    SENSITIVE,
    inline,
    key_text,
    order_of,
    value_lines,
)
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean

_WHY = {Cause.DRIFT: "# drift: changed outside", Cause.BOTH: "# changed in Git and outside"}
_NARROWEST = 30


@frozen
class Row:
    """One leaf: a change, or a value that stays and is `shown` when it helps to know the object."""

    symbol: str
    change: FieldChange | None = None
    value: Any = None
    shown: bool = True


@dataclass(slots=True)
class Node:
    """A place in the tree: the rows right here, and what lies below.

    Both are there when a scalar becomes a map.
    """

    here: list[Row] = field(default_factory=list)
    below: dict[str | int, Node] = field(default_factory=dict)

    def at(self, path: Path) -> Node:
        """The node at a path, made when it is not there."""
        node = self
        for part in path:
            below = node.below.get(part)
            if below is None:
                below = node.below[part] = Node()
            node = below
        return node

    def keep(self, path: Path, value: Any, *, shown: bool) -> None:
        """Add a field that stays as it is, unless the path is one that changes."""
        node = self.at(path)
        if not node.here and not node.below:
            node.here.append(Row(" ", value=value, shown=shown))

    def symbol(self) -> str:
        """`+`, `-` or `~` when everything in it is that or mixed; a space when nothing moves."""
        symbols = {row.symbol for row in self.here}
        symbols |= {node.symbol() for node in self.below.values()}
        return symbols.pop() if len(symbols) == 1 else ("~" if symbols - {" "} else " ")

    def visible(self) -> bool:
        """Whether anything is printed for it."""
        return any(row.shown for row in self.here) or any(
            node.visible() for node in self.below.values()
        )

    def hidden(self) -> int:
        """How many unchanged fields in it are not printed."""
        mine = sum(not row.shown for row in self.here)
        return mine + sum(node.hidden() for node in self.below.values())


def grow(changes: Iterable[FieldChange], secrets_as: str = "~") -> Node:
    """The tree of these changes; `secrets_as` marks secrets, which have no before and after."""
    root = Node()
    for change in changes:
        for part in spread(change):
            root.at(part.path).here.append(Row(symbol_of(part, secrets_as), part))
    return root


def symbol_of(change: FieldChange, secrets_as: str) -> str:
    """`+`, `-`, `~`, or a space where nothing would be sent."""
    if is_secret(change):
        # Only what apply would send is a change; a secret nobody could check is told, not marked.
        untouched = secrets_as == "~" and change.note.startswith(("unchanged", "not checked"))
        return " " if untouched else secrets_as
    if change.before is ABSENT:
        return "+"
    return "-" if change.after is ABSENT else "~"


def is_secret(change: FieldChange) -> bool:
    """Whether its value must not be shown."""
    return (
        change.sensitive or isinstance(change.before, SECRETS) or isinstance(change.after, SECRETS)
    )


def spread(change: FieldChange) -> Iterator[FieldChange]:
    """A field whose value is a whole map as one change for each leaf that differs."""
    if change.sensitive or not (_is_map(change.before) or _is_map(change.after)):
        yield change
        return
    parts = list(_leaf_changes(change))
    yield from parts or [change]


def _leaf_changes(change: FieldChange) -> Iterator[FieldChange]:
    before, after = change.before, change.after
    if not (_is_map(before) or _is_map(after)):
        if _differs(before, after):
            yield change
        return
    old, new = (dict(side) if isinstance(side, Mapping) else {} for side in (before, after))
    bare = [ABSENT if isinstance(side, Mapping) else side for side in (before, after)]
    if any(side is not ABSENT for side in bare):
        yield _with(change, change.path, bare[0], bare[1])
    for key in {**old, **new}:
        path = (*change.path, key)
        yield from _leaf_changes(_with(change, path, old.get(key, ABSENT), new.get(key, ABSENT)))


def _with(change: FieldChange, path: Path, before: Any, after: Any) -> FieldChange:
    return FieldChange(path, before, after, change.cause, note=change.note)


def _is_map(value: Any) -> bool:
    return bool(value) and is_map(value)


def _differs(before: Any, after: Any) -> bool:
    one_absent = (before is ABSENT) != (after is ABSENT)
    return one_absent or inline(before) != inline(after) or before != after


@frozen
class Layout:
    """How rows are laid out; `width` is the number of cells a line may take."""

    pen: Pen
    width: int
    noun: str = "fields"

    def rows(self, node: Node, indent: int) -> list[str]:
        """The lines of everything below a node, its keys aligned in one column."""
        seen = {key: below for key, below in node.below.items() if below.visible()}
        names = {key: key_text(key) for key in seen}
        column = max(map(cells, names.values()), default=0)
        lines: list[str] = []
        for key in sorted(seen, key=_id_and_name_first):
            lines += self._entry(seen[key], pad(names[key], column), indent)
        hidden = sum(b.hidden() for key, b in node.below.items() if key not in seen)
        if hidden:
            noun = self.noun if hidden > 1 else self.noun.removesuffix("s")
            lines.append(
                f"{' ' * (indent + 2)}" + self._dim(f"# ({hidden} unchanged {noun} hidden)")
            )
        return lines

    def _entry(self, node: Node, name: str, indent: int) -> list[str]:
        lines: list[str] = []
        for row in node.here:
            if row.shown:
                lines += self._leaf(row, name, indent)
        if any(below.visible() for below in node.below.values()):
            symbol = Node(below=node.below).symbol()
            lines.append(f"{' ' * indent}{self.pen.mark(symbol)}{name} = {{")
            lines += self.rows(node, indent + 4)
            lines.append(f"{' ' * (indent + 2)}}}")
        return lines

    def _leaf(self, row: Row, name: str, indent: int) -> list[str]:
        room = max(_NARROWEST, self.width - indent - cells(name) - 5)
        head, *rest = self._value(row, room)
        start = f"{' ' * indent}{self.pen.mark(row.symbol)}{name} = "
        comment = self._comment(row.change) if row.change else ""
        below = " " * (indent + 2)
        if len(rest) == 1 and rest[0].startswith(" -> "):
            below = " " * (indent + cells(name) + 1)
            rest[0] = rest[0] + comment
            comment = ""
        return [start + head + comment, *(below + line for line in rest)]

    def _value(self, row: Row, room: int) -> list[str]:
        item = row.change
        if item is None:
            return value_lines(row.value, room)
        if is_secret(item):
            note = clean(item.note)
            return [f"({f'sensitive, {note}' if note else SENSITIVE[1:-1]})"]
        if item.before is ABSENT:
            return value_lines(item.after, room)
        if item.after is ABSENT:
            lines = value_lines(item.before, room)
            return [*lines[:-1], lines[-1] + " -> null"] if len(lines) == 1 else lines
        return difference(item.before, item.after, room, self.pen)

    def _comment(self, item: FieldChange) -> str:
        words = _WHY.get(item.cause, "")
        if isinstance(item.after, KnownAfterApply):
            words = f"# from {clean(item.after.address)}"
        elif item.note and not item.sensitive:
            words = f"{words}, {clean(item.note)}" if words else f"# {clean(item.note)}"
        return " " + self._dim(words) if words else ""

    def _dim(self, text: str) -> str:
        return self.pen(text, "dim")


def _id_and_name_first(key: str | int) -> tuple[int, tuple[bool, int, str]]:
    first = {"id": 0, "name": 1}
    return first.get(str(key), 2), order_of(key)
