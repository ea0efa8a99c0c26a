"""How values and their changes are shown: HCL-like, in aligned rows, without a secret."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any

from synapse_apply.model.address import Address
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
    is_text = isinstance(before, str) and isinstance(after, str)
    if is_text and ("\n" in before.strip("\n") or "\n" in after.strip("\n")):
        old, new = split_into_cut_lines(before), split_into_cut_lines(after)
        # Texts that differ only in their last line break are shown inline.
        if old != new:
            return _line_diff(old, new, "lines", prefix_mark_and_gutter, style)
    if is_text and max(len(before), len(after)) > MAX_VALUE_LENGTH:
        pairs = enumerate(zip(before, after, strict=False))
        shorter = min(len(before), len(after))
        position = next((number for number, (old, new) in pairs if old != new), shorter)
        return _pair_lines([quote_around(before, position)], [quote_around(after, position)])
    before_text, after_text = format_value_inline(before), format_value_inline(after)
    if measure_width(before_text) + measure_width(after_text) + len(_ARROW) <= room:
        return [f"{before_text}{_ARROW}{after_text}"]
    if is_text:
        return _pair_lines([before_text], [after_text])
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        old, new = ([format_value_inline(item) for item in side] for side in (before, after))
        rows = _line_diff(old, new, "items", lambda line, mark: f"  {mark} {line},", style)
        return ["[", *rows[1:], "]"]
    return _pair_lines(format_value_lines(before, room), format_value_lines(after, room))


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
    for tag, old_from, old_to, new_from, new_to in blocks:
        if tag != "equal":
            body += [style(format_diff_line(line, "-"), "-") for line in old[old_from:old_to]]
            body += [style(format_diff_line(line, "+"), "+") for line in new[new_from:new_to]]
            continue
        equal_lines = [format_diff_line(line, " ") for line in old[old_from:old_to]]
        head = equal_lines[: _CONTEXT_LINES if old_from or new_from else 0]
        rest = equal_lines[len(head) :]
        tail_count = min(_CONTEXT_LINES, len(rest)) if old_to < len(old) or new_to < len(new) else 0
        hidden, tail = rest[: len(rest) - tail_count], rest[len(rest) - tail_count :]
        # The note takes one line itself, so a single hidden line is shown instead.
        if len(hidden) > 1:
            hidden = [f"    # ({len(hidden)} unchanged {noun} hidden)"]
        body += [*head, *hidden, *tail]
    count = f"{len(old)} -> {len(new)}" if len(old) != len(new) else str(len(old))
    return [f"({count} {noun})", *body]


_CAUSE_COMMENTS = {
    Cause.DRIFT: "# drift: changed outside",
    Cause.BOTH: "# changed in Git and outside",
}
_MIN_VALUE_WIDTH = 30
# Without a terminal no line is wrapped; this only decides when `before -> after` takes two lines.
_DEFAULT_WIDTH = 110
BLOCK_INDENT = 6  # of the fields of an object
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
        # Only a value that apply would send is a change; one that cannot be checked is only noted.
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
    parts = [] if change.sensitive or not _has_map(change) else _iter_differing_leaves(change)
    # Two maps may differ only in how they are written; the change is shown nevertheless.
    yield from [*parts] or [change]


def _has_map(change: FieldChange) -> bool:
    before, after = change.before, change.after
    return bool(before and is_map(before)) or bool(after and is_map(after))


def _iter_differing_leaves(change: FieldChange) -> Iterator[FieldChange]:
    before, after = change.before, change.after
    if not _has_map(change):
        is_one_absent = (before is ABSENT) != (after is ABSENT)
        # Shown values are compared as well, since 1 == True and 1 == 1.0 in Python.
        are_shown_alike = format_value_inline(before) == format_value_inline(after)
        if is_one_absent or not are_shown_alike or before != after:
            yield change
        return
    old, new = (dict(side) if isinstance(side, Mapping) else {} for side in (before, after))
    # Where a scalar becomes a map or the reverse, the scalar gets a row beside those of the keys.
    before, after = (ABSENT if isinstance(side, Mapping) else side for side in (before, after))
    if before is not ABSENT or after is not ABSENT:
        yield FieldChange(change.path, before, after, change.cause, note=change.note)
    for key in {**old, **new}:
        path, before, after = (*change.path, key), old.get(key, ABSENT), new.get(key, ABSENT)
        part = FieldChange(path, before, after, change.cause, note=change.note)
        yield from _iter_differing_leaves(part)


@frozen
class RowLayout:
    """How rows are laid out; `width` is that of a line in cells, None without a terminal."""

    style: Style
    width: int | None = None

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
            name = pad_to_width(names[key], column)
            lines += self._format_node(visible_children[key], name, indent)
        hidden = (node.children[key] for key in node.children if key not in visible_children)
        if hidden_count := sum(len([*child.all_rows()]) for child in hidden):
            noun = "fields" if hidden_count > 1 else "field"
            note = self.style(f"# ({hidden_count} unchanged {noun} hidden)", "dim")
            lines.append(" " * (indent + 2) + note)
        return lines

    def block(self, heading: Iterable[str], symbol: str, address: Address, root: FieldNode) -> str:
        """The block of an object below its heading, with a row for each field."""
        kind, name = sanitize(address.kind), quote_string(address.name)
        lines = [self.style(line, "bold") for line in heading]
        lines.append(f"  {self.style.format_symbol_and_space(symbol)}{kind} {name} {{")
        return "\n".join([*lines, *self.visible_rows(root, BLOCK_INDENT), "    }"])

    def _format_node(self, node: FieldNode, name: str, indent: int) -> list[str]:
        lines: list[str] = []
        for row in node.rows:
            if row.is_shown:
                lines += self._format_leaf(row, name, indent)
        below = [row for child in node.children.values() for row in child.all_rows()]
        if any(row.is_shown for row in below):
            # `+` or `-` if all rows have that symbol, a space if none changes.
            symbols = {row.symbol for row in below}
            symbol = symbols.pop() if len(symbols) == 1 else "~"
            lines.append(f"{' ' * indent}{self.style.format_symbol_and_space(symbol)}{name} = {{")
            lines += self.visible_rows(node, indent + 4)
            lines.append(f"{' ' * (indent + 2)}}}")
        return lines

    def _format_leaf(self, row: FieldRow, name: str, indent: int) -> list[str]:
        # 5 cells for the symbol and ` = `. A narrow terminal wraps rather than hides the value.
        width = self.width or _DEFAULT_WIDTH
        room = max(_MIN_VALUE_WIDTH, width - indent - measure_width(name) - 5)
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
            comment = f"{comment}, " if comment else "# "
            comment += sanitize(change.note)
        return " " + self.style(comment, "dim") if comment else ""
