"""Where every value, entry and comment of a YAML text begins and ends, for editing in place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from typing import Any

from yaml import events

from synapse_apply.manifests.yaml.reader import NULL_TEXTS, create_yaml_parser
from synapse_apply.model.frozen import mutable

# YAML 1.1's line breaks, at which PyYAML and libyaml end a line.
LINE_BREAK_CHARS = "\n\r\x85\u2028\u2029"
LINE_BREAK = re.compile(f"\r\n|[{LINE_BREAK_CHARS}]")
_LAST_LINE_BREAK = re.compile(f"(?:{LINE_BREAK.pattern})[ \t]*\\Z")
_KEEP_HEADER = re.compile(r"[|>][0-9]?\+")
_PROPERTIES_PATTERN = re.compile(r"(?:[&!][^\s,\[\]{}]*[ \t]*)+")
_BLANKS_AND_COMMENTS = re.compile(rf"(?:\s|#[^{LINE_BREAK_CHARS}]*)*")
_COMMENT = re.compile(rf"(?<![^\s\[\]{{}},])#[^{LINE_BREAK_CHARS}]*")
_BLOCK_STYLES = frozenset("|>")

# A range of a text and its replacement: start and end offset, new text.
Cut = tuple[int, int, str]


@mutable
class Node:
    """A scalar, an alias, a list or a map as written: `text[start:end]`.

    `scalar` is a scalar's text, `style` its quote (`'`, `"`, `|`, `>`, "" for none), `flow` says
    that a list or a map stands in brackets, `properties` holds its anchor or tag. `items` are a
    list's, or the values of a map, whose keys are `keys`.
    """

    start: int
    end: int
    scalar: str | None = None
    style: str = ""
    properties: str = ""
    alias: str = ""
    flow: bool = False
    is_map: bool = False
    keys: list[Node] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)

    @property
    def is_scalar(self) -> bool:
        return self.scalar is not None

    @property
    def is_block_scalar(self) -> bool:
        return self.style in _BLOCK_STYLES

    def leaves(self) -> Iterator[Node]:
        """The scalars and aliases in it, keys too, in the order of the text."""
        if self.is_scalar or self.alias:
            yield self
        for index, item in enumerate(self.items):
            if self.is_map:
                yield from self.keys[index].leaves()
            yield from item.leaves()


def parse_nodes(text: str) -> list[Node]:
    """The root node of each document that is not empty, counted as the reader counts them.

    The text must be one that the reader reads without an error.
    """
    next_event: Callable[[], Any] = create_yaml_parser(text).get_event
    roots = []
    while type(event := next_event()) is not events.StreamEndEvent:
        if type(event) is events.DocumentStartEvent:
            root = _parse_node(next_event(), next_event)
            if root.scalar not in NULL_TEXTS or root.style or root.properties:
                roots.append(root)
    return roots


def _parse_node(event: Any, next_event: Callable[[], Any]) -> Node:
    node = Node(event.start_mark.index, event.end_mark.index)
    kind = type(event)
    if kind is events.AliasEvent:
        node.alias = event.anchor
        return node
    anchor = f"&{event.anchor}" if event.anchor else ""
    node.properties = " ".join(filter(None, (anchor, event.tag)))
    if kind is events.ScalarEvent:
        node.scalar, node.style = event.value, event.style or ""
        return node
    node.flow, node.is_map = bool(event.flow_style), kind is events.MappingStartEvent
    ends = (events.MappingEndEvent, events.SequenceEndEvent)
    while type(child_event := next_event()) not in ends:
        child = _parse_node(child_event, next_event)
        if node.is_map:
            node.keys.append(child)
            child = _parse_node(next_event(), next_event)
        node.items.append(child)
    node.end = child_event.end_mark.index
    return node


class Written(str):
    """A YAML text, which knows where its lines and values begin and end; places are offsets."""

    __slots__ = ()

    def line_start(self, offset: int) -> int:
        """Where the line that contains an offset begins."""
        while offset and self[offset - 1] not in LINE_BREAK_CHARS:
            offset -= 1
        return offset

    def line_end(self, offset: int) -> int:
        """Where the line that contains an offset ends, before its line break."""
        match = LINE_BREAK.search(self, offset)
        return match.start() if match else len(self)

    def previous_line_end(self, start: int) -> int:
        """Where the line before the one that begins at `start` ends; 0 for the first."""
        return max(start - (2 if self[max(start - 2, 0) : start] == "\r\n" else 1), 0)

    def next_line_start(self, end: int) -> int:
        """Where the line behind the one that ends at `end` begins."""
        match = LINE_BREAK.match(self, end)
        return match.end() if match else end

    def column(self, offset: int) -> int:
        """How many characters stand before an offset in its line."""
        return offset - self.line_start(offset)

    def begins_line(self, offset: int) -> bool:
        """Whether only blanks stand before an offset in its line."""
        return not self[self.line_start(offset) : offset].strip(" \t")

    def comment_column(self, start: int) -> int:
        """The column of the comment that is all of the line at `start`; -1 for another line."""
        line = self[start : self.line_end(start)]
        comment = line.lstrip(" \t")
        return len(line) - len(comment) if comment.startswith("#") else -1

    def behind_blanks(self, offset: int) -> int:
        """The place behind the blanks, line breaks and comments at an offset."""
        match = _BLANKS_AND_COMMENTS.match(self, offset)
        return match.end() if match else offset

    def value_end(self, node: Node) -> int:
        """The place behind a value's last character, without blank lines and comments behind it.

        Blank lines that a block scalar keeps (`|+`) are part of it.
        """
        if node.is_block_scalar:
            source = self[node.start : node.end]
            if _KEEP_HEADER.match(source):
                return node.start + len(_LAST_LINE_BREAK.sub("", source))
            # From the end: an expression would try each line of it up to there.
            end = len(source.rstrip(f"{LINE_BREAK_CHARS} \t"))
            first_break = LINE_BREAK.search(source, end)
            return node.start + (first_break.start() if first_break else len(source))
        # The parser's end mark of a block collection is at the next token, behind blank lines.
        return node.end if node.flow or not node.items else self.value_end(node.items[-1])

    def content_start(self, node: Node) -> int:
        """The place of a node's content, behind its anchor and tag."""
        if not node.properties:
            return node.start
        return self.behind_blanks(self.properties_end(node))

    def properties_end(self, node: Node) -> int:
        """The place behind a node's anchor and tag; its start where it has none."""
        match = _PROPERTIES_PATTERN.match(self, node.start)
        return node.start + len(match.group().rstrip()) if match else node.start

    def header_comment(self, node: Node) -> str:
        """The comment behind a block scalar's header, with the blank before it; "" for none."""
        if not node.is_block_scalar:
            return ""
        start = self.content_start(node)
        return self[start : self.line_end(start)].lstrip("|>+-0123456789").rstrip()

    def comments(self, node: Node) -> list[str]:
        """The comments inside of a value, as written."""
        comments: list[str] = []
        position = node.start
        for leaf in node.leaves():
            comments += _COMMENT.findall(self[position : leaf.start])
            comments += filter(None, [self.header_comment(leaf).strip()])
            position = leaf.end
        return comments + _COMMENT.findall(self[position : max(position, self.value_end(node))])

    def cut(self, cuts: Iterable[Cut]) -> str:
        """The text with all cuts made; insertions at one offset stay in their order."""
        pieces: list[str] = []
        position = 0
        for start, end, replacement in sorted(cuts, key=lambda change: change[:2]):
            pieces += [self[position:start], replacement]
            position = max(position, end)
        return "".join([*pieces, self[position:]])


@mutable
class Slot:
    """A value in its place: how it is written (`node`), what it means (`value`), and its key.

    It is an item or the value of a key of what it stands in, which begins at `start` with the key
    or dash and ends at `end`. `value_offset` is where a value can be written behind key or dash,
    `column` that of key or dash; in brackets (`in_flow`) columns do not count. `has_indicator`:
    there is a colon or a dash. `comma` is where the comma behind it in brackets is, -1 without one.
    """

    text: Written
    node: Node
    value: Any
    key: str | int = ""
    start: int = 0
    end: int = 0
    value_offset: int = 0
    column: int = -2
    in_flow: bool = False
    has_indicator: bool = True
    comma: int = -1

    @property
    def has_lines(self) -> bool:
        """Whether this is a list or map in block style, with lines for each entry."""
        return not (self.node.is_scalar or self.node.flow or self.node.alias)

    def entries(self) -> list[Slot]:
        """The entries of a list or map, in order."""
        text, node, column = self.text, self.node, 0
        end = text.content_start(node)
        slots: list[Slot] = []
        for index, item in enumerate(node.items):
            slot = Slot(text, item, None, index, item.start, 0, item.start, 0, node.flow)
            if node.is_map:
                key = node.keys[index]
                slot.key, slot.start = str(key.scalar), key.start
                colon = text.find(":", key.end, item.start + 1) + 1
                slot.value_offset, slot.has_indicator = colon or key.end, colon > 0
                # An explicit key (`? key`) begins at its question mark.
                line_start = 0 if node.flow else text.line_start(key.start)
                before_key = "" if node.flow else text[line_start : key.start].rstrip()
                if before_key.endswith("?"):
                    slot.start = line_start + len(before_key) - 1
            elif not node.flow:
                slot.start = text.behind_blanks(end)
                slot.value_offset = slot.start + 1
            slot.value = self.value[slot.key]
            if not node.flow and not index:
                column = text.column(slot.start)
            slot.column = column
            end = slot.end = text.value_end(item)
            comma = text.behind_blanks(end) if node.flow else node.end
            if comma < node.end and text[comma] == ",":
                slot.comma = comma
            slots.append(slot)
        return slots
