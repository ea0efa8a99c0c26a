"""Where every value, entry and comment of a YAML text begins and ends, for editing in place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from typing import Any

from yaml import events

from synapse_apply.manifests.yaml import reader
from synapse_apply.manifests.yaml.reader import create_yaml_parser
from synapse_apply.model.frozen import mutable

# YAML 1.1's line breaks, at which PyYAML and libyaml end a line.
LINE_BREAK_CHARS = "\n\r\x85\u2028\u2029"
LINE_BREAK = re.compile(f"\r\n|[{LINE_BREAK_CHARS}]")
_BLANK_LINES = re.compile(f"(?:(?:{LINE_BREAK.pattern})[ \t]*)+\\Z")
_LAST_LINE_BREAK = re.compile(f"(?:{LINE_BREAK.pattern})[ \t]*\\Z")
_KEEP_HEADER = re.compile(r"[|>][0-9]?\+")


@mutable
class SourceNode:
    """A scalar, an alias, a list or a map as written: `text[start:end]`.

    `style` is a scalar's quote (`'`, `"`, `|`, `>`, "" for none), `flow` says that a list or a map
    stands in brackets, `properties` holds its anchor or tag. `pairs` are a map's, `items` a list's.
    """

    start: int
    end: int
    value: str | None = None
    style: str = ""
    properties: str = ""
    alias: str = ""
    flow: bool = False
    items: list[SourceNode] = field(default_factory=list)
    pairs: list[tuple[SourceNode, SourceNode]] = field(default_factory=list)
    is_map: bool = False

    @property
    def is_scalar(self) -> bool:
        return self.value is not None


def parse_nodes(text: str) -> list[SourceNode]:
    """The root node of each document that is not empty, counted as the reader counts them.

    The text must be one that the reader reads without an error.
    """
    next_event: Callable[[], Any] = create_yaml_parser(text).get_event
    roots = []
    while type(event := next_event()) is not events.StreamEndEvent:
        if type(event) is events.DocumentStartEvent:
            root = _parse_node(next_event(), next_event)
            if not _is_null_root(root):
                roots.append(root)
    return roots


def locate_value_end(text: str, node: SourceNode) -> int:
    """The offset behind a value's last character, without blank lines and comments behind it.

    Blank lines that a block scalar keeps (`|+`) are part of it.
    """
    if node.is_scalar and node.style in {"|", ">"}:
        source_text = text[node.start : node.end]
        keeps_blank_lines = _KEEP_HEADER.match(source_text)
        return node.start + len(
            (_LAST_LINE_BREAK if keeps_blank_lines else _BLANK_LINES).sub("", source_text)
        )
    # The parser's end mark of a block collection is at the next token, behind blank lines.
    if node.flow or node.is_scalar or node.alias:
        return node.end
    children = [value for _, value in node.pairs] or node.items
    return locate_value_end(text, children[-1]) if children else node.end


def locate_line_end(text: str, offset: int) -> int:
    """The offset of the end of the line that contains an offset, before its line break."""
    match = LINE_BREAK.search(text, offset)
    return match.start() if match else len(text)


def count_before_in_line(text: str, offset: int) -> int:
    """The column of an offset: how many characters stand before it in its line."""
    start = offset
    while start and text[start - 1] not in LINE_BREAK_CHARS:
        start -= 1
    return offset - start


def _parse_node(event: Any, next_event: Callable[[], Any]) -> SourceNode:
    node = SourceNode(event.start_mark.index, event.end_mark.index)
    kind = type(event)
    if kind is events.AliasEvent:
        node.alias = event.anchor
        return node
    node.properties = " ".join(_iter_node_properties(event))
    if kind is events.ScalarEvent:
        node.value = event.value
        node.style = event.style or ""
        return node
    node.flow = bool(event.flow_style)
    node.is_map = kind is events.MappingStartEvent
    while type(child_event := next_event()) not in {
        events.MappingEndEvent,
        events.SequenceEndEvent,
    }:
        child = _parse_node(child_event, next_event)
        if node.is_map:
            node.pairs.append((child, _parse_node(next_event(), next_event)))
        else:
            node.items.append(child)
    node.end = child_event.end_mark.index
    return node


def _iter_node_properties(event: Any) -> Iterator[str]:
    if event.anchor:
        yield f"&{event.anchor}"
    if event.tag:
        yield str(event.tag)


def _is_null_root(root: SourceNode) -> bool:
    if root.value is None or root.style or root.properties:
        return False
    try:
        return reader.parse_plain_scalar(root.value) is None
    except reader.NotJsonNumber:
        return False


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
