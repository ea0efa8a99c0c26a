"""Which texts are read line by line: those in which each line is `KEY: VALUE`, a comment or `---`.

Most manifests need no more of YAML. libyaml's composer makes a node and two marks of each key and
value, which takes twice as long. One line of another form leaves the whole text to it; of
what is read here, the builder makes the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from synapse_apply.manifests.yaml.positions import COLUMN_BITS, Mark, PositionTree
from synapse_apply.manifests.yaml.read_scalars import NON_STRING_FIRST_CHARS, parse_plain_scalar

# Classes name what cannot stand there, so that they need no table of all characters, which takes
# longer to make than most projects take to be read. Line ends of Unicode are looked for by
# themselves, and what is no character was reported and replaced before.
_NO_TEXT = r"\x00-\x1f\x7f-\xa0"
_OTHER_LINE_ENDS = ("\u2028", "\u2029")
_KEY = "([A-Za-z_][A-Za-z0-9_./-]{0,127})"
_QUOTED = rf"""(?:"([^"\\{_NO_TEXT}]*)"|'([^'{_NO_TEXT}]*)')"""
_FIRST = rf"(?:[^ !-\-:-@\[-^`{{-}}{_NO_TEXT}]|-(?=[0-9.]))"
# Behind a `:` inside of a text stands no space, and no `#` behind a space: that is a comment.
_WORD = rf"[^ #:{_NO_TEXT}]"
_PLAIN = rf"({_FIRST}{_WORD}*(?:(?::| +){_WORD}+)*)"
_END = rf"(?: +#[^{_NO_TEXT}]*)?\r?"
_SCALAR_LINE = re.compile(rf"( *){_KEY}:(?: +(?:{_PLAIN}|{_QUOTED}))?{_END}")
_EMPTY_LINE = re.compile(rf" *(?:#[^{_NO_TEXT}]*)?\r?")
_FLOW_LINE_START = re.compile(rf"( *){_KEY}: +(?=\{{)")
_LINE_END = re.compile(_END)
# Between brackets a `,` ends a text as well.
_FLOW_WORD = rf"[^ !-*,:-?\[-^`{{-}}{_NO_TEXT}]"
_FLOW_PLAIN = rf"({_FIRST}{_FLOW_WORD}*(?: +{_FLOW_WORD}+)*)"
_FLOW_SCALAR = re.compile(rf" *{_KEY}: +(?:{_FLOW_PLAIN}|{_QUOTED}) *([,}}])")
_FLOW_MAP = re.compile(rf" *{_KEY}: +(?=\{{)")
_FLOW_SEPARATOR = re.compile(r" *([,}])")
_EMPTY_FLOW_MAP = re.compile(r"\{ *\}")
# Below the builder's, so that what is too deep is left to it.
_MAX_DEPTH = 50


class _OtherFormError(ValueError):
    """The text has a line that is not read here."""


class _Line(NamedTuple):
    """One line; `key` is "" where it has none.

    `opens_map`: no value stands behind the key, so that a map may follow. `flow_column` is that of
    the `{` of its value, 0 where it has none.
    """

    indent: int
    key: str
    value: Any = None
    opens_map: bool = False
    flow_column: int = 0


_NO_CONTENT, _DOCUMENT_START = _Line(0, ""), _Line(-1, "")


def read_plain_lines_or_none(text: str, first_line: int) -> list[tuple[Any, PositionTree]] | None:
    """The value and the position tree of each document but empty ones; None for another form.

    `first_line` is added to every line.
    """
    if any(line_end in text for line_end in _OTHER_LINE_ENDS):
        return None
    documents: list[tuple[Any, PositionTree]] = []
    # The maps around the current one, innermost last: indent, values, position trees.
    outer_maps: list[tuple[int, dict[str, Any], dict[str, PositionTree]]] = []
    indent = -1
    values: dict[str, Any] = {}
    trees: dict[str, PositionTree] = {}
    last_key, opens_map = "", True
    try:
        for number, text_of_line in enumerate(text.split("\n"), first_line):
            line = _parse_line_or_raise(text_of_line)
            line_indent, key, value, line_opens_map, flow_column = line
            if not key:
                if line is _DOCUMENT_START:
                    outer_maps.clear()
                    indent, opens_map = -1, True
                continue
            mark: Mark = number << COLUMN_BITS | line_indent
            if line_indent > indent:
                if not opens_map or len(outer_maps) >= _MAX_DEPTH:
                    return None
                outer_maps.append((indent, values, trees))
                inner_values: dict[str, Any] = {}
                inner_trees: dict[str, PositionTree] = {}
                if indent < 0:
                    documents.append((inner_values, (mark, inner_trees)))
                else:
                    values[last_key] = inner_values
                    trees[last_key] = (trees[last_key], inner_trees)
                indent, values, trees = line_indent, inner_values, inner_trees
            while indent > line_indent:
                indent, values, trees = outer_maps.pop()
            if indent != line_indent or key in values:
                return None
            if flow_column:
                value, tree, end = _read_flow_map_or_raise(
                    text_of_line, flow_column, mark - line_indent, 1
                )
                if not _LINE_END.fullmatch(text_of_line, end):
                    return None
                trees[key] = (mark, tree)
            else:
                trees[key] = mark
            values[key] = value
            last_key, opens_map = key, line_opens_map
    except ValueError:  # also of a number that JSON cannot hold
        return None
    return documents


# Documents have most of their lines in common, such as `kind: Plugin`.
@lru_cache(maxsize=1000)
def _parse_line_or_raise(text: str) -> _Line:
    match = _SCALAR_LINE.fullmatch(text)
    if match is not None:
        spaces, key, plain, *quoted = match.groups()
        _require_text_key(key)
        if plain is not None:
            return _Line(len(spaces), key, _parse_plain(plain))
        value = _select_quoted(quoted)
        return _Line(len(spaces), key, value, opens_map=value is None)
    if text.rstrip("\r") == "---":
        return _DOCUMENT_START
    if _EMPTY_LINE.fullmatch(text):
        return _NO_CONTENT
    match = _FLOW_LINE_START.match(text)
    if match is None:
        raise _OtherFormError
    spaces, key = match.groups()
    _require_text_key(key)
    return _Line(len(spaces), key, flow_column=match.end())


def _read_flow_map_or_raise(
    text: str, start: int, line_mark: Mark, depth: int
) -> tuple[dict[str, Any], dict[str, PositionTree], int]:
    """The values and position trees of the map whose `{` is at `start`, and the offset behind it.

    `line_mark` is the mark of the line's start.
    """
    values: dict[str, Any] = {}
    trees: dict[str, PositionTree] = {}
    if match := _EMPTY_FLOW_MAP.match(text, start):
        return values, trees, match.end()
    end, separator = start + 1, ","
    while separator == ",":
        match = _FLOW_SCALAR.match(text, end) or _FLOW_MAP.match(text, end)
        if match is None or depth > _MAX_DEPTH or match[1] in values:
            raise _OtherFormError
        key, end = match[1], match.end()
        _require_text_key(key)
        tree: PositionTree = line_mark | match.start(1)
        if match.re is _FLOW_SCALAR:
            _, plain, *quoted, separator = match.groups()
            values[key] = _parse_plain(plain) if plain is not None else _select_quoted(quoted)
            trees[key] = tree
            continue
        values[key], inner_trees, end = _read_flow_map_or_raise(text, end, line_mark, depth + 1)
        trees[key] = (tree, inner_trees)
        separator_match = _FLOW_SEPARATOR.match(text, end)
        if separator_match is None:
            raise _OtherFormError
        separator, end = separator_match[1], separator_match.end()
    return values, trees, end


def _require_text_key(key: str) -> None:
    """Raise for a key such as `true`, which the builder reports."""
    if key[0] in NON_STRING_FIRST_CHARS and parse_plain_scalar(key) is not key:
        raise _OtherFormError


def _select_quoted(parts: Sequence[str | None]) -> str | None:
    """The part in double or in single quotes; None for neither."""
    return next((part for part in parts if part is not None), None)


def _parse_plain(text: str) -> Any:
    return parse_plain_scalar(text) if text[0] in NON_STRING_FIRST_CHARS else text
