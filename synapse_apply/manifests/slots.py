"""Where values stand in a YAML text: behind which key or dash, in which lines, in what brackets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from synapse_apply.manifests.spans import BREAK, BREAKS, Node, column, last_offset, line_end

# A part of a text and what takes its place.
Cut = tuple[int, int, str]

_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*[ \t]*)+")
_NO_VALUE = re.compile(rf"(?:\s|#[^{BREAKS}]*)*")
_REMARK = re.compile(rf"(?<![^\s\[\]{{}},])#[^{BREAKS}]*")
_BLOCK = frozenset("|>")


@dataclass(slots=True)
class Slot:
    """A value as it is written and what it says.

    `behind` is where a value can stand behind the key or dash, `base` the column of that key or
    dash; in brackets (`flow`) columns are not looked at. `named`: there is a colon or a dash.
    """

    node: Node
    value: Any
    behind: int = 0
    base: int = -2
    flow: bool = False
    named: bool = True

    @property
    def in_lines(self) -> bool:
        """Whether this is a list or a map with a line for each key or item."""
        return not (self.node.is_scalar or self.node.flow or self.node.alias)


@dataclass(slots=True)
class Entry:
    """A key of a map with its value, or an item: it begins with the key or dash at `start`."""

    key: str | int
    start: int
    slot: Slot
    last: int
    comma: int = -1


def entries(text: str, slot: Slot) -> list[Entry]:
    """The keys or items of a list or a map, in order."""
    node = slot.node
    made = list(_keys(text, slot) if node.is_map else _items(text, slot))
    if node.flow:
        for at, one in enumerate(made):
            found = _NO_VALUE.match(text, one.last)
            comma = found.end() if found else one.last
            if comma < node.end and text[comma] == ",":
                made[at].comma = comma
    return made


def _keys(text: str, slot: Slot) -> Iterator[Entry]:
    base = 0
    for at, (name, value) in enumerate(slot.node.pairs):
        start = name.start
        if not slot.node.flow:
            # A key may stand behind a question mark.
            width = column(text, start)
            lead = text[start - width : start].rstrip()
            start = start - width + len(lead) - 1 if lead.endswith("?") else start
            base = base if at else column(text, start)
        colon = text.find(":", name.end, value.start + 1) + 1
        inside = Slot(
            value, slot.value[name.value], colon or name.end, base, slot.node.flow, colon > 0
        )
        yield Entry(str(name.value), start, inside, last_offset(text, value))


def _items(text: str, slot: Slot) -> Iterator[Entry]:
    node = slot.node
    if node.flow:
        for at, item in enumerate(node.items):
            inside = Slot(item, slot.value[at], item.start, 0, True)
            yield Entry(at, item.start, inside, item.end)
        return
    end, base = content(text, node), 0
    for at, item in enumerate(node.items):
        found = _NO_VALUE.match(text, end)
        dash = found.end() if found else end
        base = base if at else column(text, dash)
        inside = Slot(item, slot.value[at], dash + 1, base)
        end = last_offset(text, item)
        yield Entry(at, dash, inside, end)


def content(text: str, node: Node) -> int:
    """Where a node begins behind its anchor and tag."""
    if not node.mark:
        return node.start
    found = _NO_VALUE.match(text, properties_end(text, node))
    return found.end() if found else node.start


def properties_end(text: str, node: Node) -> int:
    """Where the anchor and the tag of a node end."""
    found = _PROPERTIES.match(text, node.start)
    return node.start + len(found.group().rstrip()) if found else node.start


def line_start(text: str, offset: int) -> int:
    """Where the line around an offset begins."""
    return offset - column(text, offset)


def line_before(text: str, start: int) -> int:
    """Where the line before one that begins at an offset ends; the offset where there is none."""
    if text[max(start - 2, 0) : start] == "\r\n":
        return start - 2
    return max(start - 1, 0)


def next_line(text: str, end: int) -> int:
    """Where the line behind one that ends at an offset begins."""
    found = BREAK.match(text, end)
    return found.end() if found else end


def alone(text: str, offset: int) -> bool:
    """Whether nothing stands before an offset in its line."""
    return not text[line_start(text, offset) : offset].strip(" \t")


def remark_at(text: str, start: int, width: int, *, deeper: bool = False) -> bool:
    """Whether a line that begins at an offset is a comment in that column, or in a later one."""
    line = text[start : line_end(text, start)]
    bare = line.lstrip(" \t")
    indent = len(line) - len(bare)
    return bare.startswith("#") and (indent > width if deeper else indent == width)


def remarks(text: str, node: Node) -> list[str]:
    """The comments inside of a value."""
    found: list[str] = []
    at = node.start
    for leaf in _leaves(node):
        found += _REMARK.findall(text[at : leaf.start])
        at = leaf.end
        if leaf.style in _BLOCK:
            found += [r for r in [head_remark(text, leaf).strip()] if r]
    return found + _REMARK.findall(text[at : max(at, last_offset(text, node))])


def head_remark(text: str, node: Node) -> str:
    """What stands behind the header of a block scalar: a comment, with the space before it."""
    if node.style not in _BLOCK:
        return ""
    start = content(text, node)
    return text[start : line_end(text, start)].lstrip("|>+-0123456789").rstrip()


def _leaves(node: Node) -> Iterator[Node]:
    if node.is_scalar or node.alias:
        yield node
    for name, value in node.pairs:
        yield from _leaves(name)
        yield from _leaves(value)
    for item in node.items:
        yield from _leaves(item)


def cut(text: str, cuts: Iterable[Cut]) -> str:
    """A text with parts of it replaced; of insertions at one place the first comes first."""
    made: list[str] = []
    at = 0
    for start, end, instead in sorted(cuts, key=lambda one: one[:2]):
        made += [text[at:start], instead]
        at = max(at, end)
    return "".join([*made, text[at:]])
