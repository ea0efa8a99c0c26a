"""How YAML events become values and positions; duplicate keys and other constructs are refused.

Refused are constructs that no manifest needs (tags, merge keys, keys that are not
strings, alias bombs); the builder reads on after them, so that every finding is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import yaml
from yaml import events

from synapse_apply.manifests.yaml import read_scalars
from synapse_apply.manifests.yaml.positions import (
    COLUMN_BITS,
    Mark,
    PositionTree,
    pack_mark_counting_from_zero,
    unpack_mark_counting_from_one,
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


# Stands for a `<<` key, which was reported, and whose value is dropped.
_MERGE_KEY: Any = object()
_MAX_DIGITS_SHOWN = 20


class UnreadableDocument(Exception):
    """The rest of this document cannot be read; the reason was reported."""


class _OpenCollection:
    """A map or list whose end event has not come yet.

    `nested_size` counts the values below its own items; `key` waits for its value.
    """

    __slots__ = (
        "anchor",
        "is_map",
        "key",
        "key_mark",
        "nested_size",
        "position_trees",
        "start_mark",
        "value",
    )

    def __init__(
        self, value: Any, position_trees: Any, is_map: bool, start_mark: Mark, anchor: str | None
    ) -> None:
        self.value = value
        self.position_trees = position_trees
        self.is_map = is_map
        self.start_mark = start_mark
        self.anchor = anchor
        self.key: Any = None
        self.key_mark: Mark = 0
        self.nested_size = 0


class Builder:
    """Builds one document after another from a parser's events."""

    def __init__(
        self,
        next_event: Callable[[], Any],
        report: ReportAtMark,
        first_line: int = 0,
    ) -> None:
        """`first_line` is added to every line: the text may be the rest of a file."""
        self._read_event = next_event
        self._report = report
        self._first_line = first_line
        self._anchors: dict[str, tuple[Any, PositionTree, int]] = {}
        self._stack: list[_OpenCollection] = []
        self._aliased_count = 0
        self._result: tuple[Any, PositionTree] = (None, 0)

    def build_document(self) -> tuple[Any, PositionTree]:
        """The value and position tree of the next document, whose start event was read.

        Raises UnreadableDocument, or yaml.YAMLError for a syntax error.
        """
        # Anchors are valid within one document only (YAML 1.2, section 3.2.2.2).
        self._anchors.clear()
        self._stack.clear()
        event_handlers, read_event, stack = self._event_handlers, self._read_event, self._stack
        scalar_event, first_chars, first_line = (
            events.ScalarEvent,
            read_scalars.NON_STRING_FIRST_CHARS,
            self._first_line,
        )
        while True:
            event = read_event()
            event_type = type(event)
            if event_type is not scalar_event:
                if event_type is events.DocumentEndEvent:
                    return self._result
                event_handlers[event_type](self, event)
                continue
            # Nearly every event is a scalar in a map, so this case is written out.
            start, text = event.start_mark, event.value
            # pack_mark_counting_from_zero written out: this line runs for every scalar, and a call
            # would slow down reading.
            value_mark = start.line + first_line << COLUMN_BITS | start.column
            if event.tag is not None:
                value = self._read_tagged_scalar_as_text(event, value_mark)
            # Most plain scalars begin with a letter that no number or keyword begins with.
            elif not event.style and (not text or text[0] in first_chars):
                value = self._read_plain_scalar_or_report(text, value_mark)
            else:
                value = text
            if event.anchor is not None:
                self._anchors[event.anchor] = (value, value_mark, 1)
            frame = stack[-1] if stack else None
            if frame is None or not frame.is_map:
                self._add_value_or_report_bad_key(value, value_mark, value_mark)
            elif frame.key is None:
                if type(value) is not str:
                    value = self._report_non_string_key_and_return_text(value, value_mark, text)
                elif text == "<<" and not event.style:
                    value = self._report_merge_key_and_return_marker(value_mark)
                frame.key, frame.key_mark = value, value_mark
            # It reports the duplicate key, or drops the value of a merge key.
            elif frame.key in frame.value or frame.key is _MERGE_KEY:
                self._add_value_or_report_bad_key(value, value_mark, value_mark)
            else:
                frame.value[frame.key] = value
                frame.position_trees[frame.key] = frame.key_mark
                frame.key = None

    def _pack_event_mark(self, event: Any) -> Mark:
        start = event.start_mark
        return pack_mark_counting_from_zero(start.line + self._first_line, start.column)

    def _read_tagged_scalar_as_text(self, event: Any, value_mark: Mark) -> str:
        if event.tag not in _STRING_TAGS:
            self._report_tag_unless_core(event.tag, value_mark)
        text: str = event.value
        return text

    def _read_plain_scalar_or_report(self, text: str, value_mark: Mark) -> Any:
        try:
            return read_scalars.parse_plain_scalar(text)
        except read_scalars.TooManyDigits:
            self._report(
                "Number with too many digits",
                f"{text[:_MAX_DIGITS_SHOWN]}... is a number of {len(text):,} characters, and more "
                f"than "
                f"{read_scalars.MAX_NUMBER_LENGTH:,} are not read",
                "put it in quotes when it is a text",
                value_mark,
            )
            return text
        except read_scalars.NotJsonNumber:
            self._report(
                "Number that JSON cannot hold",
                f"{text} is infinite or not a number",
                f'quote it when it is a text: "{text}"',
                value_mark,
            )
            return text

    def _report_merge_key_and_return_marker(self, key_mark: Mark) -> Any:
        self._report(
            "Merge keys are not supported",
            "`<<` merges another mapping into this one, which YAML 1.2 no longer knows",
            "write the keys out, or change them for a target with an overlay",
            key_mark,
        )
        return _MERGE_KEY

    def _report_tag_unless_core(self, tag: str, value_mark: Mark) -> None:
        if tag not in _CORE_TAGS:
            is_core = tag.startswith(_YAML_TAG_PREFIX)
            tag_text = "!!" + tag.removeprefix(_YAML_TAG_PREFIX) if is_core else tag
            self._report(
                "Tags are not supported",
                f"the tag {tag_text} asks for a type that is not JSON",
                "remove the tag; quote the value when it is a text",
                value_mark,
            )

    def _report_non_string_key_and_return_text(self, value: Any, key_mark: Mark, text: str) -> str:
        self._report(
            "Key is not a string",
            f"the key {text or 'null'} is read as {_describe_key_type(value)}",
            f'quote it: "{text}"',
            key_mark,
        )
        return text

    def _add_value_or_report_bad_key(
        self, value: Any, tree: PositionTree, value_mark: Mark
    ) -> None:
        if not self._stack:
            self._result = (value, tree)
            return
        frame = self._stack[-1]
        if not frame.is_map:
            frame.value.append(value)
            frame.position_trees.append(tree)
            return
        key = frame.key
        if key is None:
            self._report_complex_key_and_make_one_up(frame, value_mark)
            return
        frame.key = None
        if key is _MERGE_KEY:
            return
        if key in frame.value:
            self._refuse_duplicate_key(frame, key)
            return
        frame.value[key] = value
        frame.position_trees[key] = (
            (frame.key_mark, tree[1]) if type(tree) is tuple else frame.key_mark
        )

    def _report_complex_key_and_make_one_up(self, frame: _OpenCollection, key_mark: Mark) -> None:
        self._report(
            "Key is not a string",
            "a mapping, a list or an alias stands where a key is expected",
            "write a text; quote one that begins with { or [",
            key_mark,
        )
        # A made-up key keeps keys and values in step, so that reading can go on.
        frame.key, frame.key_mark = f"(key {len(frame.value)})", key_mark

    def _refuse_duplicate_key(self, frame: _OpenCollection, key: str) -> None:
        first_tree = frame.position_trees[key]
        packed = first_tree[0] if type(first_tree) is tuple else first_tree
        line, column = unpack_mark_counting_from_one(packed)
        self._report(
            "Duplicate key",
            f"`{key}` stands here for the second time; the first is at line {line},"
            f" column {column}",
            "keep one of the two",
            frame.key_mark,
        )

    def _open_map(self, event: Any) -> None:
        self._stack.append(
            _OpenCollection(
                {},
                {},
                True,
                self._pack_start_reporting_tag_or_raise_if_too_deep(event),
                event.anchor,
            )
        )

    def _open_list(self, event: Any) -> None:
        self._stack.append(
            _OpenCollection(
                [],
                [],
                False,
                self._pack_start_reporting_tag_or_raise_if_too_deep(event),
                event.anchor,
            )
        )

    def _pack_start_reporting_tag_or_raise_if_too_deep(self, event: Any) -> Mark:
        start = event.start_mark
        start_mark: Mark = start.line + self._first_line << COLUMN_BITS | start.column
        if event.tag is not None and event.tag != "!":
            self._report_tag_unless_core(event.tag, start_mark)
        if len(self._stack) >= MAX_DEPTH:
            self._report(
                "Nested too deeply",
                f"more than {MAX_DEPTH} mappings and lists stand inside each other",
                "flatten the document",
                start_mark,
            )
            raise UnreadableDocument
        return start_mark

    def _close_collection(self, _event: Any) -> None:
        frame = self._stack.pop()
        tree = (frame.start_mark, frame.position_trees)
        size = 1 + len(frame.value) + frame.nested_size
        if frame.anchor is not None:
            self._anchors[frame.anchor] = (frame.value, tree, size)
        if self._stack:
            self._stack[-1].nested_size += size
        self._add_value_or_report_bad_key(frame.value, tree, frame.start_mark)

    def _add_alias_value_or_raise_above_limit(self, event: Any) -> None:
        alias_mark = self._pack_event_mark(event)
        value, tree, size = self._resolve_alias_or_report_and_return_its_text(
            event.anchor, alias_mark
        )
        # Counted by expanded size: a value that an alias names may hold aliases of its own.
        self._aliased_count += size
        if self._aliased_count > MAX_ALIASED_NODES:
            self._report(
                "Aliases expand to too much",
                f"with *{event.anchor} this file has more than {MAX_ALIASED_NODES} values in all",
                "write the values out instead of using aliases of aliases",
                alias_mark,
            )
            raise UnreadableDocument
        if self._stack:
            self._stack[-1].nested_size += size
            frame = self._stack[-1]
            # An alias of a text may be a key.
            if frame.is_map and frame.key is None and type(value) is str:
                frame.key, frame.key_mark = value, alias_mark
                return
        self._add_value_or_report_bad_key(
            value, tree if type(tree) is tuple else alias_mark, alias_mark
        )

    def _resolve_alias_or_report_and_return_its_text(
        self, name: str, alias_mark: Mark
    ) -> tuple[Any, PositionTree, int]:
        anchored = self._anchors.get(name)
        if anchored is None:
            # An anchor gets its value when its collection ends, so inside of it the name is
            # unknown.
            is_open = any(frame.anchor == name for frame in self._stack)
            self._report(
                "Alias inside its own anchor" if is_open else "Unknown alias",
                f"*{name} stands inside the value it names"
                if is_open
                else f"no anchor &{name} stands before *{name} in this document",
                f'quote it when it is a text: "*{name}"',
                alias_mark,
            )
            # Read as a text, so that the rest of the document is still checked.
            return f"*{name}", alias_mark, 1
        return anchored

    # On the class, as an instance that held its own bound methods would be a reference cycle: it
    # would stay in memory, with its parser, until a garbage collection.
    _event_handlers: ClassVar[Mapping[type, Callable[[Builder, Any], None]]] = {
        events.MappingStartEvent: _open_map,
        events.SequenceStartEvent: _open_list,
        events.MappingEndEvent: _close_collection,
        events.SequenceEndEvent: _close_collection,
        events.AliasEvent: _add_alias_value_or_raise_above_limit,
    }


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
