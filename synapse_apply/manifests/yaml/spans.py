"""Where every value of a YAML text begins and ends, as offsets, for editing in place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any

from yaml import events

from synapse_apply.manifests.yaml import read_scalars
from synapse_apply.manifests.yaml.builder import create_yaml_parser
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
        return read_scalars.parse_plain_scalar(root.value) is None
    except read_scalars.NotJsonNumber:
        return False
