"""How YAML events become values and positions; duplicate keys and other constructs are refused.

Refused are constructs that no manifest needs (tags, merge keys, keys that are not
strings, alias bombs); the builder reads on after them, so that every finding is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml
from yaml import events

from synapse_apply.manifests.yaml import read_scalars
from synapse_apply.manifests.yaml.positions import (
    COLUMN_BITS,
    Mark,
    PositionTree,
    pack_mark,
    unpack_mark,
)

MAX_DEPTH = 100
# An alias bomb of 300 bytes expands to millions of nodes ("billion laughs").
MAX_ALIASED_NODES = 100_000
_YAML_TAG_PREFIX = "tag:yaml.org,2002:"
_CORE_TAGS = frozenset(
    _YAML_TAG_PREFIX + name for name in ("str", "int", "float", "bool", "null", "map", "seq")
)
_STRING_TAGS = frozenset(("!", "tag:yaml.org,2002:str"))

ReportAtMark = Callable[[str, str, str, Mark], None]
"""Called with summary, detail, hint and mark of a finding."""


_MAX_DIGITS_SHOWN = 20


class UnreadableDocument(Exception):
    """The rest of this document cannot be read; the reason was reported."""


# A value, its positions, and how many values it adds to the collection around it. No type of its
# own: one is made for each key and value.
_Node = tuple[Any, PositionTree, int]


class Builder:
    """Builds one document after another from a parser's events."""

    def __init__(
        self, next_event: Callable[[], Any], report: ReportAtMark, first_line: int = 0
    ) -> None:
        """`first_line` is added to every line: the text may be the rest of a file."""
        self._read_event = next_event
        self._report = report
        self._first_line = first_line
        self._anchors: dict[str, _Node] = {}
        self._open_anchors: list[str | None] = []  # one for each open collection
        self._aliased_count = 0

    def build_document(self) -> tuple[Any, PositionTree]:
        """The value and position tree of the next document, whose start event was read.

        Raises UnreadableDocument, or yaml.YAMLError for a syntax error.
        """
        # Anchors are valid within one document only (YAML 1.2, section 3.2.2.2).
        self._anchors.clear()
        self._open_anchors.clear()
        value, tree, _ = self._build(self._read_event())
        self._read_event()  # the document's end
        return value, tree

    def _pack_mark(self, event: Any) -> Mark:
        return pack_mark(event.start_mark.line + self._first_line, event.start_mark.column)

    def _build(self, event: Any) -> _Node:
        node: _Node
        if type(event) is events.ScalarEvent:
            # `_pack_mark` and what most scalars are, written out: this runs for each of them.
            text: Any = event.value
            start: Any = event.start_mark
            mark: Mark = start.line + self._first_line << COLUMN_BITS | start.column
            is_text = event.style or (text and text[0] not in read_scalars.NON_STRING_FIRST_CHARS)
            if event.tag is not None or not is_text:
                text = self._read_scalar(event, mark)
            node, size = (text, mark, 0), 1
        elif type(event) is events.AliasEvent:
            return self._resolve_alias(event.anchor or "", self._pack_mark(event))
        else:
            node = self._build_collection(event, self._pack_mark(event))
            size = node[2]
        if event.anchor is not None:
            self._anchors[event.anchor] = (node[0], node[1], size)
        return node

    def _read_scalar(self, event: Any, mark: Mark) -> Any:
        text = event.value
        if event.tag is not None:
            if event.tag not in _STRING_TAGS:
                self._report_tag_unless_core(event.tag, mark)
            return text
        try:
            return read_scalars.parse_plain_scalar(text)
        except read_scalars.TooManyDigits:
            self._report(
                "Number with too many digits",
                f"{text[:_MAX_DIGITS_SHOWN]}... is a number of {len(text):,} characters, and more "
                f"than {read_scalars.MAX_NUMBER_LENGTH:,} are not read",
                "put it in quotes when it is a text",
                mark,
            )
        except read_scalars.NotJsonNumber:
            self._report(
                "Number that JSON cannot hold",
                f"{text} is infinite or not a number",
                f'quote it when it is a text: "{text}"',
                mark,
            )
        return text

    def _report_tag_unless_core(self, tag: str, mark: Mark) -> None:
        if tag not in _CORE_TAGS:
            is_core = tag.startswith(_YAML_TAG_PREFIX)
            tag_text = "!!" + tag.removeprefix(_YAML_TAG_PREFIX) if is_core else tag
            self._report(
                "Tags are not supported",
                f"the tag {tag_text} asks for a type that is not JSON",
                "remove the tag; quote the value when it is a text",
                mark,
            )

    def _build_collection(self, event: Any, mark: Mark) -> _Node:
        if event.tag is not None and event.tag != "!":
            self._report_tag_unless_core(event.tag, mark)
        if len(self._open_anchors) >= MAX_DEPTH:
            self._report(
                "Nested too deeply",
                f"more than {MAX_DEPTH} mappings and lists stand inside each other",
                "flatten the document",
                mark,
            )
            raise UnreadableDocument
        self._open_anchors.append(event.anchor)
        is_map = type(event) is events.MappingStartEvent
        value, trees, size = (self._build_map if is_map else self._build_list)()
        self._open_anchors.pop()
        return value, (mark, trees), 1 + len(value) + size

    def _build_list(self) -> tuple[Any, Any, int]:
        values, trees, size = [], [], 0
        while type(event := self._read_event()) is not events.SequenceEndEvent:
            value, tree, added = self._build(event)
            values.append(value)
            trees.append(tree)
            size += added
        return values, trees, size

    def _build_map(self) -> tuple[Any, Any, int]:
        values: dict[str, Any] = {}
        trees: dict[str, PositionTree] = {}
        size = 0
        while type(event := self._read_event()) is not events.MappingEndEvent:
            key, mark, key_size = self._build(event)
            if type(event) is not events.ScalarEvent:
                mark = self._pack_mark(event)
            if type(key) is not str or key == "<<":
                key = self._read_odd_key(event, key, mark, f"(key {len(values)})")
            value, tree, added = self._build(self._read_event())
            size += key_size + added
            if key in values:
                first = trees[key]
                line, column = unpack_mark(first[0] if type(first) is tuple else first)
                self._report(
                    "Duplicate key",
                    f"`{key}` stands here for the second time; the first is at line {line},"
                    f" column {column}",
                    "keep one of the two",
                    mark,
                )
            elif key is not None:
                values[key] = value
                trees[key] = (mark, tree[1]) if type(tree) is tuple else mark
        return values, trees, size

    def _read_odd_key(self, event: Any, key: Any, mark: Mark, made_up: str) -> str | None:
        """The key of what may be none; None for a merge key, whose value is dropped."""
        is_scalar = type(event) is events.ScalarEvent
        if is_scalar and event.value == "<<" and not event.style:
            self._report(
                "Merge keys are not supported",
                "`<<` merges another mapping into this one, which YAML 1.2 no longer knows",
                "write the keys out, or change them for a target with an overlay",
                mark,
            )
            return None
        if type(key) is str:  # quoted, or an alias
            return key
        if is_scalar:
            text: str = event.value
            self._report(
                "Key is not a string",
                f"the key {text or 'null'} is read as {_describe_key_type(key)}",
                f'quote it: "{text}"',
                mark,
            )
            return text
        self._report(
            "Key is not a string",
            "a mapping, a list or an alias stands where a key is expected",
            "write a text; quote one that begins with { or [",
            mark,
        )
        return made_up

    def _resolve_alias(self, name: str, mark: Mark) -> _Node:
        node = self._anchors.get(name)
        if node is None:
            # An anchor gets its value when its collection ends, so inside of it the name is
            # unknown.
            is_open = name in self._open_anchors
            self._report(
                "Alias inside its own anchor" if is_open else "Unknown alias",
                f"*{name} stands inside the value it names"
                if is_open
                else f"no anchor &{name} stands before *{name} in this document",
                f'quote it when it is a text: "*{name}"',
                mark,
            )
            # Read as a text, so that the rest of the document is still checked.
            node = f"*{name}", mark, 1
        # Counted by expanded size: a value that an alias names may hold aliases of its own.
        value, tree, size = node
        self._aliased_count += size
        if self._aliased_count > MAX_ALIASED_NODES:
            self._report(
                "Aliases expand to too much",
                f"with *{name} this file has more than {MAX_ALIASED_NODES} values in all",
                "write the values out instead of using aliases of aliases",
                mark,
            )
            raise UnreadableDocument
        return value, tree if type(tree) is tuple else mark, size


def _describe_key_type(value: Any) -> str:
    if value is None:
        return "null"
    return "a boolean" if isinstance(value, bool) else "a number"


def create_yaml_parser(text: str) -> Any:
    """An event parser of a text: libyaml's where PyYAML has it, else pure Python's (15x slower)."""
    try:
        from yaml.cyaml import CParser  # type: ignore[attr-defined]  # noqa: PLC0415
    except ImportError:  # PyYAML built without libyaml
        return yaml.SafeLoader(text)
    return CParser(text)
