"""Where every value of a YAML text begins and ends, as offsets: what editing in place needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from yaml import events

from synapse_apply.manifests import scalars
from synapse_apply.manifests.builder import parser_for

# What ends a line for the parser.
BREAKS = "\n\r\x85\u2028\u2029"
BREAK = re.compile(f"\r\n|[{BREAKS}]")
_BLANK_LINES = re.compile(f"(?:(?:{BREAK.pattern})[ \t]*)+\\Z")
_LAST_BREAK = re.compile(f"(?:{BREAK.pattern})[ \t]*\\Z")
_KEPT = re.compile(r"[|>][0-9]?\+")


@dataclass(slots=True)
class Node:
    """A scalar, an alias, a list or a map as it is written: `text[start:end]`.

    `style` is a scalar's quote (`'`, `"`, `|`, `>`, "" for none), `flow` says that a list or a
    map stands in brackets, `mark` holds its anchor or tag. `pairs` are a map's, `items` a list's.
    """

    start: int
    end: int
    value: str | None = None
    style: str = ""
    mark: str = ""
    alias: str = ""
    flow: bool = False
    items: list[Node] = field(default_factory=list)
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    is_map: bool = False

    @property
    def is_scalar(self) -> bool:
        return self.value is not None

    def get(self, part: str | int) -> Node | None:
        """The value of a key, or an item; None where there is none."""
        if isinstance(part, int):
            return self.items[part] if 0 <= part < len(self.items) else None
        return next((value for key, value in self.pairs if key.value == part), None)


def documents(text: str) -> list[Node]:
    """The root of each document that is not empty, as the reader counts them.

    The text must be one that the reader takes without an error.
    """
    next_event: Callable[[], Any] = parser_for(text).get_event
    found = []
    while type(event := next_event()) is not events.StreamEndEvent:
        if type(event) is events.DocumentStartEvent:
            root = _node(next_event(), next_event)
            if not _is_null(root):
                found.append(root)
    return found


def last_offset(text: str, node: Node) -> int:
    """Where the last character of a value stands, and no blank line or comment after it.

    Blank lines that a block scalar keeps (`|+`) are part of it.
    """
    if node.is_scalar and node.style in {"|", ">"}:
        written = text[node.start : node.end]
        kept = _KEPT.match(written)
        return node.start + len((_LAST_BREAK if kept else _BLANK_LINES).sub("", written))
    if node.flow or node.is_scalar or node.alias:
        return node.end
    below = [value for _, value in node.pairs] or node.items
    return last_offset(text, below[-1]) if below else node.end


def line_end(text: str, offset: int) -> int:
    """Where the line around an offset ends, its line break not counted."""
    found = BREAK.search(text, offset)
    return found.start() if found else len(text)


def column(text: str, offset: int) -> int:
    """How many characters stand before an offset in its line."""
    start = offset
    while start and text[start - 1] not in BREAKS:
        start -= 1
    return offset - start


def _node(event: Any, next_event: Callable[[], Any]) -> Node:
    made = Node(event.start_mark.index, event.end_mark.index)
    kind = type(event)
    if kind is events.AliasEvent:
        made.alias = event.anchor
        return made
    made.mark = " ".join(_properties(event))
    if kind is events.ScalarEvent:
        made.value = event.value
        made.style = event.style or ""
        return made
    made.flow = bool(event.flow_style)
    made.is_map = kind is events.MappingStartEvent
    while type(following := next_event()) not in {
        events.MappingEndEvent,
        events.SequenceEndEvent,
    }:
        one = _node(following, next_event)
        if made.is_map:
            made.pairs.append((one, _node(next_event(), next_event)))
        else:
            made.items.append(one)
    made.end = following.end_mark.index
    return made


def _properties(event: Any) -> Iterator[str]:
    if event.anchor:
        yield f"&{event.anchor}"
    if event.tag:
        yield str(event.tag)


def _is_null(root: Node) -> bool:
    if root.value is None or root.style or root.mark:
        return False
    try:
        return scalars.plain(root.value) is None
    except scalars.NotJson:
        return False
