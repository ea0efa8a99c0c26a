"""YAML events to values, with the place of every key and item.

The builder refuses what has no business in a manifest (tags, merge keys, keys that are not
strings, alias bombs) but reads on, so that every finding is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import yaml
from yaml import events

from synapse_apply.manifests import scalars
from synapse_apply.manifests.places import COLUMN_BITS, Mark, Place, mark, unmarked

DEEPEST = 100
# A bomb of 300 bytes expands to millions of nodes; no honest file comes near this.
MOST_ALIASED_NODES = 100_000
_YAML = "tag:yaml.org,2002:"
_CORE_TAGS = frozenset(
    _YAML + name for name in ("str", "int", "float", "bool", "null", "map", "seq")
)
_STRING_TAGS = frozenset(("!", "tag:yaml.org,2002:str"))

Report = Callable[[str, str, str, Mark], None]
"""Told a finding: summary, detail, hint and where."""


# The key of what is dropped once it was reported.
_MERGE: Any = object()
_DIGITS_SHOWN = 20


class Broken(Exception):
    """The document cannot be read on from here."""


class _Frame:
    """A map or list that is being read. `size` is that of what stands below its own items."""

    __slots__ = ("anchor", "at", "is_map", "key", "key_at", "places", "size", "value")

    def __init__(self, value: Any, places: Any, is_map: bool, at: Mark, anchor: str | None) -> None:
        self.value = value
        self.places = places
        self.is_map = is_map
        self.at = at
        self.anchor = anchor
        self.key: Any = None
        self.key_at: Mark = 0
        self.size = 0


class Builder:
    """Builds one document after another from a parser's events."""

    def __init__(
        self,
        next_event: Callable[[], Any],
        report: Report,
        first_line: int = 0,
    ) -> None:
        """`first_line` is added to every line: the text may be the rest of a file."""
        self._next = next_event
        self._report = report
        self._first_line = first_line
        self._anchors: dict[str, tuple[Any, Place, int]] = {}
        self._stack: list[_Frame] = []
        self._aliased = 0
        self._result: tuple[Any, Place] = (None, 0)

    def document(self) -> tuple[Any, Place]:
        """The next document, after its start event; Broken or yaml.YAMLError when it cannot."""
        self._anchors.clear()
        self._stack.clear()
        take, following, stack = self._take, self._next, self._stack
        scalar, first, first_line = events.ScalarEvent, scalars.FIRST, self._first_line
        while True:
            event = following()
            kind = type(event)
            if kind is not scalar:
                if kind is events.DocumentEndEvent:
                    return self._result
                take[kind](self, event)
                continue
            # Nearly every event is a scalar in a map, so this case is written out.
            start, text = event.start_mark, event.value
            at = start.line + first_line << COLUMN_BITS | start.column
            if event.tag is not None:
                value = self._tagged(event, at)
            elif not event.style and (not text or text[0] in first):
                value = self._plain(text, at)
            else:
                value = text
            if event.anchor is not None:
                self._anchors[event.anchor] = (value, at, 1)
            frame = stack[-1] if stack else None
            if frame is None or not frame.is_map:
                self._add(value, at, at)
            elif frame.key is None:
                if type(value) is not str:
                    value = self._refuse_key(value, at, text)
                elif text == "<<" and not event.style:
                    value = self._refuse_merge(at)
                frame.key, frame.key_at = value, at
            elif frame.key in frame.value or frame.key is _MERGE:
                self._add(value, at, at)
            else:
                frame.value[frame.key] = value
                frame.places[frame.key] = frame.key_at
                frame.key = None

    def _mark(self, event: Any) -> Mark:
        start = event.start_mark
        return mark(start.line + self._first_line, start.column)

    def _tagged(self, event: Any, at: Mark) -> str:
        if event.tag not in _STRING_TAGS:
            self._check_tag(event.tag, at)
        text: str = event.value
        return text

    def _plain(self, text: str, at: Mark) -> Any:
        try:
            return scalars.plain(text)
        except scalars.TooManyDigits:
            self._report(
                "Number with too many digits",
                f"{text[:_DIGITS_SHOWN]}... is a number of {len(text):,} characters, and more than "
                f"{scalars.LONGEST_NUMBER:,} are not read",
                "put it in quotes when it is a text",
                at,
            )
            return text
        except scalars.NotJson:
            self._report(
                "Number that JSON cannot hold",
                f"{text} is infinite or not a number",
                f'quote it when it is a text: "{text}"',
                at,
            )
            return text

    def _refuse_merge(self, at: Mark) -> Any:
        self._report(
            "Merge keys are not supported",
            "`<<` merges another mapping into this one, which YAML 1.2 no longer knows",
            "write the keys out, or change them for a target with an overlay",
            at,
        )
        return _MERGE

    def _check_tag(self, tag: str, at: Mark) -> None:
        if tag not in _CORE_TAGS:
            core = tag.startswith(_YAML)
            shown = "!!" + tag.removeprefix(_YAML) if core else tag
            self._report(
                "Tags are not supported",
                f"the tag {shown} asks for a type that is not JSON",
                "remove the tag; quote the value when it is a text",
                at,
            )

    def _refuse_key(self, value: Any, at: Mark, text: str) -> str:
        self._report(
            "Key is not a string",
            f"the key {text or 'null'} is read as {_type_name(value)}",
            f'quote it: "{text}"',
            at,
        )
        return text

    def _add(self, value: Any, place: Place, at: Mark) -> None:
        if not self._stack:
            self._result = (value, place)
            return
        frame = self._stack[-1]
        if not frame.is_map:
            frame.value.append(value)
            frame.places.append(place)
            return
        key = frame.key
        if key is None:
            self._complex_key(frame, at)
            return
        frame.key = None
        if key is _MERGE:
            return
        if key in frame.value:
            self._duplicate(frame, key)
            return
        frame.value[key] = value
        frame.places[key] = (frame.key_at, place[1]) if type(place) is tuple else frame.key_at

    def _complex_key(self, frame: _Frame, at: Mark) -> None:
        self._report(
            "Key is not a string",
            "a mapping, a list or an alias stands where a key is expected",
            "write a text; quote one that begins with { or [",
            at,
        )
        frame.key, frame.key_at = f"(key {len(frame.value)})", at

    def _duplicate(self, frame: _Frame, key: str) -> None:
        first = frame.places[key]
        packed = first[0] if type(first) is tuple else first
        line, column = unmarked(packed)
        self._report(
            "Duplicate key",
            f"`{key}` stands here for the second time; the first is at line {line},"
            f" column {column}",
            "keep one of the two",
            frame.key_at,
        )

    def _open_map(self, event: Any) -> None:
        self._stack.append(_Frame({}, {}, True, self._opened(event), event.anchor))

    def _open_list(self, event: Any) -> None:
        self._stack.append(_Frame([], [], False, self._opened(event), event.anchor))

    def _opened(self, event: Any) -> Mark:
        start = event.start_mark
        at: Mark = start.line + self._first_line << COLUMN_BITS | start.column
        if event.tag is not None and event.tag != "!":
            self._check_tag(event.tag, at)
        if len(self._stack) >= DEEPEST:
            self._report(
                "Nested too deeply",
                f"more than {DEEPEST} mappings and lists stand inside each other",
                "flatten the document",
                at,
            )
            raise Broken
        return at

    def _close(self, _event: Any) -> None:
        frame = self._stack.pop()
        place = (frame.at, frame.places)
        size = 1 + len(frame.value) + frame.size
        if frame.anchor is not None:
            self._anchors[frame.anchor] = (frame.value, place, size)
        if self._stack:
            self._stack[-1].size += size
        self._add(frame.value, place, frame.at)

    def _alias(self, event: Any) -> None:
        at = self._mark(event)
        value, place, size = self._anchored(event.anchor, at)
        self._aliased += size
        if self._aliased > MOST_ALIASED_NODES:
            self._report(
                "Aliases expand to too much",
                f"with *{event.anchor} this file has more than {MOST_ALIASED_NODES} values in all",
                "write the values out instead of using aliases of aliases",
                at,
            )
            raise Broken
        if self._stack:
            self._stack[-1].size += size
            frame = self._stack[-1]
            if frame.is_map and frame.key is None and type(value) is str:
                frame.key, frame.key_at = value, at
                return
        self._add(value, place if type(place) is tuple else at, at)

    def _anchored(self, name: str, at: Mark) -> tuple[Any, Place, int]:
        found = self._anchors.get(name)
        if found is None:
            inside = any(frame.anchor == name for frame in self._stack)
            self._report(
                "Alias inside its own anchor" if inside else "Unknown alias",
                f"*{name} stands inside the value it names"
                if inside
                else f"no anchor &{name} stands before *{name} in this document",
                f'quote it when it is a text: "*{name}"',
                at,
            )
            return f"*{name}", at, 1
        return found

    # Of the class: an instance that held its own bound methods would live on, with its parser,
    # until somebody searches for circles.
    _take: ClassVar[Mapping[type, Callable[[Builder, Any], None]]] = {
        events.MappingStartEvent: _open_map,
        events.SequenceStartEvent: _open_list,
        events.MappingEndEvent: _close,
        events.SequenceEndEvent: _close,
        events.AliasEvent: _alias,
    }


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    return "a boolean" if isinstance(value, bool) else "a number"


def parser_for(text: str) -> Any:
    """Libyaml's parser where PyYAML was built with it, else the pure Python one (15x slower)."""
    try:
        from yaml.cyaml import CParser  # type: ignore[attr-defined]  # noqa: PLC0415
    except ImportError:  # PyYAML built without libyaml
        return yaml.SafeLoader(text)
    return CParser(text)
