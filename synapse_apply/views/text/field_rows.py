"""How field changes are laid out in aligned rows, and which text stands in place of a secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any

from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.model.values import ABSENT, KnownAfterApply, is_map
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.text.cells import measure_width, pad_to_width
from synapse_apply.views.text.style import Style
from synapse_apply.views.text.value_diff import format_line_diff
from synapse_apply.views.text.values import (
    SECRET_TYPES,
    SENSITIVE_TEXT,
    format_value_inline,
    format_value_lines,
    quote_key,
    sort_key_of_value,
)

_CAUSE_COMMENTS = {
    Cause.DRIFT: "# drift: changed outside",
    Cause.BOTH: "# changed in Git and outside",
}
_MIN_VALUE_WIDTH = 30


@frozen
class FieldRow:
    """A field's row: a change, or an unchanged value that is shown or only counted."""

    symbol: str
    change: FieldChange | None = None
    value: Any = None
    is_shown: bool = True


@mutable
class FieldNode:
    """A node of the tree of fields: its own rows, and its children by key.

    It has both where a scalar becomes a map.
    """

    rows: list[FieldRow] = field(default_factory=list)
    children: dict[str | int, FieldNode] = field(default_factory=dict)

    def get_or_create_node(self, path: FieldPath) -> FieldNode:
        """The node at a path, created where it is missing."""
        node = self
        for part in path:
            child = node.children.get(part)
            if child is None:
                child = node.children[part] = FieldNode()
            node = child
        return node

    def add_unchanged_field(self, path: FieldPath, value: Any, *, is_shown: bool) -> None:
        """Add an unchanged field, unless something at or below its path changes."""
        node = self.get_or_create_node(path)
        # Changes are added first, so a node with rows or children is one that changes.
        if not node.rows and not node.children:
            node.rows.append(FieldRow(" ", value=value, is_shown=is_shown))

    def compute_overall_symbol(self) -> str:
        """`+` or `-` if all rows in it have that symbol, a space if none changes, else `~`."""
        symbols = {row.symbol for row in self.rows}
        symbols |= {node.compute_overall_symbol() for node in self.children.values()}
        return symbols.pop() if len(symbols) == 1 else ("~" if symbols - {" "} else " ")

    def has_shown_row(self) -> bool:
        """Whether any row in it is shown."""
        return any(row.is_shown for row in self.rows) or any(
            node.has_shown_row() for node in self.children.values()
        )

    def count_rows_not_shown(self) -> int:
        """How many unchanged fields in it are not shown."""
        own_count = sum(not row.is_shown for row in self.rows)
        return own_count + sum(node.count_rows_not_shown() for node in self.children.values())


def build_field_tree(changes: Iterable[FieldChange], hidden_symbol: str = "~") -> FieldNode:
    """The tree of these changes; secret ones get `hidden_symbol`, as their values are not known."""
    root = FieldNode()
    for change in changes:
        for part in differing_leaves(change):
            root.get_or_create_node(part.path).rows.append(
                FieldRow(change_symbol(part, hidden_symbol), part)
            )
    return root


def change_symbol(change: FieldChange, hidden_symbol: str) -> str:
    """The symbol of a change: `+`, `-`, `~`, or a space for a secret that will not be sent."""
    if is_secret_change(change):
        # Only a value that apply would send is a change; a secret that cannot be checked is only
        # noted.
        is_untouched = hidden_symbol == "~" and change.note.startswith(("unchanged", "not checked"))
        return " " if is_untouched else hidden_symbol
    if change.before is ABSENT:
        return "+"
    return "-" if change.after is ABSENT else "~"


def is_secret_change(change: FieldChange) -> bool:
    """Whether the change has a value that must not be shown."""
    return (
        change.sensitive
        or isinstance(change.before, SECRET_TYPES)
        or isinstance(change.after, SECRET_TYPES)
    )


def secret_text(change: FieldChange, *, is_created: bool) -> str:
    """The text in place of a secret; an object that is to be created has no old value of it."""
    if is_created and change.note == "changed":
        return "(sensitive value)"
    return f"(sensitive, {change.note})" if change.note else SENSITIVE_TEXT


def differing_leaves(change: FieldChange) -> Iterator[FieldChange]:
    """One change for each leaf that differs, where a value is a map; else the change itself."""
    # A secret has no values to split, and its parts would show its structure.
    if change.sensitive or not (_is_nonempty_map(change.before) or _is_nonempty_map(change.after)):
        yield change
        return
    parts = list(_iter_differing_leaves(change))
    # Two maps may differ only in how they are written; the change is shown nevertheless.
    yield from parts or [change]


def _iter_differing_leaves(change: FieldChange) -> Iterator[FieldChange]:
    before, after = change.before, change.after
    if not (_is_nonempty_map(before) or _is_nonempty_map(after)):
        is_one_absent = (before is ABSENT) != (after is ABSENT)
        if (
            is_one_absent
            # Shown values are compared as well, since 1 == True and 1 == 1.0 in Python.
            or format_value_inline(before) != format_value_inline(after)
            or before != after
        ):
            yield change
        return
    old, new = (dict(side) if isinstance(side, Mapping) else {} for side in (before, after))
    # Where a scalar becomes a map or the reverse, the scalar gets a row beside those of the keys.
    scalar_sides = [ABSENT if isinstance(side, Mapping) else side for side in (before, after)]
    if any(side is not ABSENT for side in scalar_sides):
        yield _same_cause(change, change.path, scalar_sides[0], scalar_sides[1])
    for key in {**old, **new}:
        path = (*change.path, key)
        yield from _iter_differing_leaves(
            _same_cause(change, path, old.get(key, ABSENT), new.get(key, ABSENT))
        )


def _same_cause(change: FieldChange, path: FieldPath, before: Any, after: Any) -> FieldChange:
    return FieldChange(path, before, after, change.cause, note=change.note)


def _is_nonempty_map(value: Any) -> bool:
    return bool(value) and is_map(value)


@frozen
class RowLayout:
    """How rows are laid out; `width` is that of a line in cells, `noun` what hidden rows are."""

    style: Style
    width: int
    noun: str = "fields"

    def visible_rows(self, node: FieldNode, indent: int) -> list[str]:
        """The lines of all visible nodes below a node, their keys aligned in one column."""
        visible_children = {
            key: child for key, child in node.children.items() if child.has_shown_row()
        }
        names = {key: quote_key(key) for key in visible_children}
        column = max(map(measure_width, names.values()), default=0)
        lines: list[str] = []
        for key in sorted(visible_children, key=_key_order):
            lines += self._format_node(
                visible_children[key], pad_to_width(names[key], column), indent
            )
        hidden_count = sum(
            hidden_child.count_rows_not_shown()
            for key, hidden_child in node.children.items()
            if key not in visible_children
        )
        if hidden_count:
            noun = self.noun if hidden_count > 1 else self.noun.removesuffix("s")
            lines.append(
                f"{' ' * (indent + 2)}"
                + self._style_dim(f"# ({hidden_count} unchanged {noun} hidden)")
            )
        return lines

    def _format_node(self, node: FieldNode, name: str, indent: int) -> list[str]:
        lines: list[str] = []
        for row in node.rows:
            if row.is_shown:
                lines += self._format_leaf(row, name, indent)
        if any(child.has_shown_row() for child in node.children.values()):
            symbol = FieldNode(children=node.children).compute_overall_symbol()
            lines.append(f"{' ' * indent}{self.style.format_symbol_and_space(symbol)}{name} = {{")
            lines += self.visible_rows(node, indent + 4)
            lines.append(f"{' ' * (indent + 2)}}}")
        return lines

    def _format_leaf(self, row: FieldRow, name: str, indent: int) -> list[str]:
        # 5 cells for the symbol and ` = `. A narrow terminal wraps rather than hides the value.
        room = max(_MIN_VALUE_WIDTH, self.width - indent - measure_width(name) - 5)
        first_line, *continuation = self._format_value(row, room)
        prefix = f"{' ' * indent}{self.style.format_symbol_and_space(row.symbol)}{name} = "
        comment = self._comment(row.change) if row.change else ""
        indent_text = " " * (indent + 2)
        # `before` and `after` on two lines: the arrow goes below the equals sign, the comment at
        # the end.
        if len(continuation) == 1 and continuation[0].startswith(" -> "):
            indent_text = " " * (indent + measure_width(name) + 1)
            continuation[0] = continuation[0] + comment
            comment = ""
        return [prefix + first_line + comment, *(indent_text + line for line in continuation)]

    def _format_value(self, row: FieldRow, room: int) -> list[str]:
        change = row.change
        if change is None:
            return format_value_lines(row.value, room)
        if is_secret_change(change):
            return [sanitize(secret_text(change, is_created=row.symbol == "+"))]
        if change.before is ABSENT:
            return format_value_lines(change.after, room)
        if change.after is ABSENT:
            lines = format_value_lines(change.before, room)
            return [*lines[:-1], lines[-1] + " -> null"] if len(lines) == 1 else lines
        return format_line_diff(change.before, change.after, room, self.style)

    def _comment(self, change: FieldChange) -> str:
        comment = _CAUSE_COMMENTS.get(change.cause, "")
        if change.origin:
            comment = f"# {sanitize(change.origin)}"
        if isinstance(change.after, KnownAfterApply):
            comment = f"# from {sanitize(change.after.address)}"
        elif change.note and not change.sensitive:
            comment = (
                f"{comment}, {sanitize(change.note)}" if comment else f"# {sanitize(change.note)}"
            )
        return " " + self._style_dim(comment) if comment else ""

    def _style_dim(self, text: str) -> str:
        return self.style(text, "dim")


def _key_order(key: str | int) -> tuple[int, tuple[bool, int, str]]:
    # What identifies an object comes first.
    rank_by_key = {"id": 0, "name": 1}
    return rank_by_key.get(str(key), 2), sort_key_of_value(key)
