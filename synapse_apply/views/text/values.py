"""How values and their changes are shown: HCL-like, in aligned rows, without a secret."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any

from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.model.values import (
    ABSENT,
    DesiredSecret,
    KnownAfterApply,
    Mac,
    Reference,
    SecretRef,
    Sensitive,
    WithheldSecret,
    is_map,
)
from synapse_apply.views.sanitize import quote_string, sanitize, sanitize_lines
from synapse_apply.views.text.terminal import Style, measure_width, pad_to_width

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
    hidden_count = len(lines) - MAX_TEXT_LINES
    return [
        f"({len(lines)} lines)",
        *map(prefix_mark_and_gutter, lines[:MAX_TEXT_LINES]),
        *([f"    # ({hidden_count} more lines)"] if hidden_count > 0 else []),
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


_ARROW = " -> "
_CONTEXT_LINES = 2
# SequenceMatcher is quadratic at worst; beyond this, both values are shown without a diff.
_MAX_COMPARED_LINES = 2000


def format_line_diff(before: Any, after: Any, room: int, style: Style) -> list[str]:
    """The lines of `before -> after`; the first goes behind `name = `, `room` is in cells."""
    if isinstance(before, str) and isinstance(after, str):
        return _format_text_change(before, after, room, style)
    before_text, after_text = format_value_inline(before), format_value_inline(after)
    if measure_width(before_text) + measure_width(after_text) + len(_ARROW) <= room:
        return [f"{before_text}{_ARROW}{after_text}"]
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        old, new = (
            [format_value_inline(item) for item in before],
            [format_value_inline(item) for item in after],
        )
        rows = _line_diff(old, new, "items", lambda line, mark: f"  {mark} {line},", style)
        return ["[", *rows[1:], "]"]
    return _pair_lines(format_value_lines(before, room), format_value_lines(after, room))


def _format_text_change(before: str, after: str, room: int, style: Style) -> list[str]:
    if "\n" in before.strip("\n") or "\n" in after.strip("\n"):
        old, new = split_into_cut_lines(before), split_into_cut_lines(after)
        # Texts that differ only in their last line break are shown inline.
        if old != new:
            return _line_diff(old, new, "lines", prefix_mark_and_gutter, style)
    if len(before) > MAX_VALUE_LENGTH or len(after) > MAX_VALUE_LENGTH:
        pairs = enumerate(zip(before, after, strict=False))
        shorter = min(len(before), len(after))
        position = next((number for number, (old, new) in pairs if old != new), shorter)
        return _pair_lines([quote_around(before, position)], [quote_around(after, position)])
    before_text, after_text = format_value_inline(before), format_value_inline(after)
    if measure_width(before_text) + measure_width(after_text) + len(_ARROW) <= room:
        return [f"{before_text}{_ARROW}{after_text}"]
    return _pair_lines([before_text], [after_text])


def _pair_lines(before_lines: list[str], after_lines: list[str]) -> list[str]:
    first_line, *continuation = after_lines
    return [*before_lines, f" -> {first_line}", *(f"    {line}" for line in continuation)]


def _line_diff(
    old: list[str],
    new: list[str],
    noun: str,
    format_diff_line: Callable[[str, str], str],
    style: Style,
) -> list[str]:
    """A head with counts, then removed and added lines with a little context."""
    if len(old) + len(new) > _MAX_COMPARED_LINES:
        blocks = [("replace", 0, len(old), 0, len(new))]
    else:
        from difflib import SequenceMatcher  # noqa: PLC0415 - only values of several lines pay

        # Without autojunk, which would treat frequent lines as noise and give odd diffs.
        blocks = list(SequenceMatcher(None, old, new, autojunk=False).get_opcodes())
    body: list[str] = []
    for index, (tag, old_from, old_to, new_from, new_to) in enumerate(blocks):
        if tag == "equal":
            equal_lines = [format_diff_line(line, " ") for line in old[old_from:old_to]]
            body += _context_lines(
                equal_lines, noun, is_first=index == 0, is_last=index == len(blocks) - 1
            )
            continue
        body += [style(format_diff_line(line, "-"), "-") for line in old[old_from:old_to]]
        body += [style(format_diff_line(line, "+"), "+") for line in new[new_from:new_to]]
    count = f"{len(old)} -> {len(new)}" if len(old) != len(new) else str(len(old))
    return [f"({count} {noun})", *body]


def _context_lines(
    equal_lines: list[str], noun: str, *, is_first: bool, is_last: bool
) -> list[str]:
    head = [] if is_first else equal_lines[:_CONTEXT_LINES]
    remaining_lines = equal_lines[len(head) :]
    tail = [] if is_last or not remaining_lines else remaining_lines[-_CONTEXT_LINES:]
    hidden_count = len(remaining_lines) - len(tail)
    note = (
        [f"    # ({hidden_count} unchanged {noun} hidden)"]
        # The note takes one line itself, so a single hidden line is shown instead.
        if hidden_count > 1
        else remaining_lines[:hidden_count]
    )
    return [*head, *note, *tail]


_CAUSE_COMMENTS = {
    Cause.DRIFT: "# drift: changed outside",
    Cause.BOTH: "# changed in Git and outside",
}
_MIN_VALUE_WIDTH = 30
_FIRST_KEYS = {"id": 0, "name": 1}


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

    def all_rows(self) -> Iterator[FieldRow]:
        """Its own rows, and those of all nodes in it."""
        yield from self.rows
        for child in self.children.values():
            yield from child.all_rows()

    def has_shown_row(self) -> bool:
        """Whether any row in it is shown."""
        return any(row.is_shown for row in self.all_rows())


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
        # What identifies an object comes first.
        for key in sorted(
            visible_children,
            key=lambda key: (_FIRST_KEYS.get(str(key), len(_FIRST_KEYS)), sort_key_of_value(key)),
        ):
            lines += self._format_node(
                visible_children[key], pad_to_width(names[key], column), indent
            )
        hidden_count = sum(
            len(list(hidden_child.all_rows()))
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
            # `+` or `-` if all rows have that symbol, a space if none changes.
            symbols = {row.symbol for child in node.children.values() for row in child.all_rows()}
            symbol = symbols.pop() if len(symbols) == 1 else "~"
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
