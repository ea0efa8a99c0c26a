"""Where in a YAML text the entries of a list or map begin and end, and where their comments are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from synapse_apply.manifests.yaml.spans import (
    LINE_BREAK,
    LINE_BREAK_CHARS,
    SourceNode,
    count_before_in_line,
    locate_line_end,
    locate_value_end,
)
from synapse_apply.model.frozen import mutable

# A range of a text and its replacement: start and end offset, new text.
Cut = tuple[int, int, str]

_PROPERTIES_PATTERN = re.compile(r"(?:[&!][^\s,\[\]{}]*[ \t]*)+")
_BLANKS_AND_COMMENTS = re.compile(rf"(?:\s|#[^{LINE_BREAK_CHARS}]*)*")
_COMMENT = re.compile(rf"(?<![^\s\[\]{{}},])#[^{LINE_BREAK_CHARS}]*")
_BLOCK_STYLES = frozenset("|>")


@mutable
class ValueSlot:
    """A value: how it is written (`node`) and what it means (`value`).

    `value_offset` is where a value can be written behind key or dash, `base_column` the column of
    that key or dash; in brackets (`flow`) columns do not count. `has_indicator`: there is a
    colon or a dash.
    """

    node: SourceNode
    value: Any
    value_offset: int = 0
    base_column: int = -2
    flow: bool = False
    has_indicator: bool = True

    @property
    def is_block_collection(self) -> bool:
        """Whether this is a list or map in block style, with lines for each entry."""
        return not (self.node.is_scalar or self.node.flow or self.node.alias)


@mutable
class SlotEntry:
    """A key with its value, or an item; `start` is the offset of the key or dash.

    `comma_offset` is that of the comma behind it in brackets, -1 without one.
    """

    key: str | int
    start: int
    slot: ValueSlot
    end: int
    comma_offset: int = -1


def list_entries(text: str, slot: ValueSlot) -> list[SlotEntry]:
    """The entries of a list or map, in order."""
    node = slot.node
    slot_entries = list(
        _iter_map_entries(text, slot) if node.is_map else _iter_list_entries(text, slot)
    )
    if node.flow:
        for index, entry in enumerate(slot_entries):
            match = _BLANKS_AND_COMMENTS.match(text, entry.end)
            comma_offset = match.end() if match else entry.end
            if comma_offset < node.end and text[comma_offset] == ",":
                slot_entries[index].comma_offset = comma_offset
    return slot_entries


def _iter_map_entries(text: str, slot: ValueSlot) -> Iterator[SlotEntry]:
    base_column = 0
    for index, (name, value) in enumerate(slot.node.pairs):
        start = name.start
        if not slot.node.flow:
            # An explicit key (`? key`) begins at its question mark.
            width = count_before_in_line(text, start)
            line_prefix = text[start - width : start].rstrip()
            start = start - width + len(line_prefix) - 1 if line_prefix.endswith("?") else start
            base_column = base_column if index else count_before_in_line(text, start)
        colon = text.find(":", name.end, value.start + 1) + 1
        value_slot = ValueSlot(
            value, slot.value[name.value], colon or name.end, base_column, slot.node.flow, colon > 0
        )
        yield SlotEntry(str(name.value), start, value_slot, locate_value_end(text, value))


def _iter_list_entries(text: str, slot: ValueSlot) -> Iterator[SlotEntry]:
    node = slot.node
    if node.flow:
        for index, item in enumerate(node.items):
            item_slot = ValueSlot(item, slot.value[index], item.start, 0, True)
            yield SlotEntry(index, item.start, item_slot, item.end)
        return
    end, base_column = locate_content_start(text, node), 0
    for index, item in enumerate(node.items):
        match = _BLANKS_AND_COMMENTS.match(text, end)
        dash = match.end() if match else end
        base_column = base_column if index else count_before_in_line(text, dash)
        item_slot = ValueSlot(item, slot.value[index], dash + 1, base_column)
        end = locate_value_end(text, item)
        yield SlotEntry(index, dash, item_slot, end)


def locate_content_start(text: str, node: SourceNode) -> int:
    """The offset of a node's content, behind its anchor and tag."""
    if not node.properties:
        return node.start
    match = _BLANKS_AND_COMMENTS.match(text, locate_properties_end(text, node))
    return match.end() if match else node.start


def locate_properties_end(text: str, node: SourceNode) -> int:
    """The offset behind a node's anchor and tag; its start where it has none."""
    match = _PROPERTIES_PATTERN.match(text, node.start)
    return node.start + len(match.group().rstrip()) if match else node.start


def locate_line_start(text: str, offset: int) -> int:
    """The offset of the start of the line that contains an offset."""
    return offset - count_before_in_line(text, offset)


def locate_previous_line_end(text: str, start: int) -> int:
    """The offset of the end of the line before the one that begins at `start`; 0 for the first."""
    if text[max(start - 2, 0) : start] == "\r\n":
        return start - 2
    return max(start - 1, 0)


def locate_next_line_start(text: str, end: int) -> int:
    """The offset of the start of the line behind the one that ends at `end`."""
    match = LINE_BREAK.match(text, end)
    return match.end() if match else end


def is_first_in_line(text: str, offset: int) -> bool:
    """Whether only blanks stand before an offset in its line."""
    return not text[locate_line_start(text, offset) : offset].strip(" \t")


def is_comment_indented(text: str, start: int, width: int, *, deeper: bool = False) -> bool:
    """Whether the line at `start` is a comment indented by `width`, or with `deeper` by more."""
    line = text[start : locate_line_end(text, start)]
    stripped_line = line.lstrip(" \t")
    indent = len(line) - len(stripped_line)
    return stripped_line.startswith("#") and (indent > width if deeper else indent == width)


def list_comments(text: str, node: SourceNode) -> list[str]:
    """The comments inside of a value, as written."""
    comments: list[str] = []
    position = node.start
    for leaf in _iter_leaves(node):
        comments += _COMMENT.findall(text[position : leaf.start])
        position = leaf.end
        if leaf.style in _BLOCK_STYLES:
            comments += [comment for comment in [header_comment(text, leaf).strip()] if comment]
    return comments + _COMMENT.findall(text[position : max(position, locate_value_end(text, node))])


def header_comment(text: str, node: SourceNode) -> str:
    """The comment behind a block scalar's header, with the blank before it; "" for none."""
    if node.style not in _BLOCK_STYLES:
        return ""
    start = locate_content_start(text, node)
    return text[start : locate_line_end(text, start)].lstrip("|>+-0123456789").rstrip()


def _iter_leaves(node: SourceNode) -> Iterator[SourceNode]:
    if node.is_scalar or node.alias:
        yield node
    for name, value in node.pairs:
        yield from _iter_leaves(name)
        yield from _iter_leaves(value)
    for item in node.items:
        yield from _iter_leaves(item)


def apply_cuts(text: str, cuts: Iterable[Cut]) -> str:
    """The text with all cuts made; insertions at one offset stay in their order."""
    pieces: list[str] = []
    position = 0
    for start, end, replacement in sorted(cuts, key=lambda change: change[:2]):
        pieces += [text[position:start], replacement]
        position = max(position, end)
    return "".join([*pieces, text[position:]])
