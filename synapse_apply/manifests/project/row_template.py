"""How `${row.KEY}` in a template of `targets_from` is replaced by a value of a row.

The syntax is that of variables. In `variables` and `overlays`, which take `${var.NAME}` later, that
and `$${` stay as they are: a target made here is as if it had been written out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from synapse_apply.manifests.decode.variables import REFERENCE_PATTERN
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.frozen import frozen

RowValue = str | int | float | bool
ReportFinding = Callable[[FieldPath, str, str, str], None]
"""Called with the path in the template, and summary, detail and hint of a finding."""

_ROW_KEY = re.compile(r"row\.([A-Za-z_][A-Za-z0-9_-]*)")
_VARIABLE_NAME = re.compile(r"var\.[A-Za-z_][A-Za-z0-9_-]*")
# A value that is no text costs as much memory as a long one.
_NODE_COST = 100
_FIELDS_WITH_VARIABLES = frozenset(("variables", "overlays"))


@frozen
class _RowKey:
    """The place of a row's value in a text."""

    name: str


@frozen
class RowText:
    """A text as the pieces that it is joined of; one `_RowKey` alone keeps its value's type."""

    pieces: tuple[str | _RowKey, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(piece.name for piece in self.pieces if isinstance(piece, _RowKey))

    def fill_with(self, row: Mapping[str, RowValue]) -> RowValue:
        """The text with the row's values, which has every one of the keys."""
        if len(self.pieces) == 1 and isinstance(self.pieces[0], _RowKey):
            return row[self.pieces[0].name]
        return self.fill_as_text(row)

    def fill_as_text(self, row: Mapping[str, RowValue]) -> str:
        """The same as a text, also where a value of another type stands alone."""
        return "".join(
            piece if isinstance(piece, str) else format_row_value(row[piece.name])
            for piece in self.pieces
        )


def format_row_value(value: RowValue) -> str:
    """A row's value inside a text: booleans and numbers look as in YAML, not as in Python."""
    return value if isinstance(value, str) else json.dumps(value)


@frozen
class RowTemplate:
    """A template that is read once and filled with many rows.

    `paths_by_key` has, for each key of the row that it names, the first path where it does. What
    names no row is one and the same object in every result.
    """

    _root: Any
    _fixed_cost: int
    _uses: Mapping[str, int]
    paths_by_key: Mapping[str, FieldPath]

    def fill_with(self, row: Mapping[str, RowValue]) -> Any:
        """The template's value for a row that has all of `paths_by_key`."""
        return _fill_node(self._root, row)

    def estimate_cost(self, row: Mapping[str, RowValue]) -> int:
        """How much `fill_with` makes, in characters of text; a value without text is some, too."""
        texts = ((format_row_value(row[key]), count) for key, count in self._uses.items())
        return self._fixed_cost + sum(len(text) * count for text, count in texts)

    def find_keys_at(self, path: FieldPath) -> tuple[str, ...]:
        """The keys of the row that the text at a path names; () for none, and for no text."""
        node = self._root
        for part in path:
            children = node.children if isinstance(node, (_FilledMap, _FilledList)) else None
            if isinstance(children, dict) and isinstance(part, str):
                node = children.get(part)
            elif isinstance(children, list) and isinstance(part, int) and part < len(children):
                node = children[part]
            else:
                return ()
        return node.keys if isinstance(node, RowText) else ()


def parse_row_template(value: Mapping[str, Any], report: ReportFinding) -> RowTemplate:
    """A template parsed; references that cannot be replaced are reported."""
    paths_by_key: dict[str, FieldPath] = {}
    root = _parse_template_node(value, (), report, paths_by_key)
    texts = list(_iter_row_texts(root))
    literals = [piece for text in texts for piece in text.pieces if isinstance(piece, str)]
    return RowTemplate(
        root,
        _count_made_nodes(root) * _NODE_COST + sum(map(len, literals)),
        Counter(key for text in texts for key in text.keys),
        paths_by_key,
    )


def parse_row_text(
    text: str, path: FieldPath, report: ReportFinding, *, takes_variables: bool = False
) -> RowText:
    """A text parsed; with `takes_variables`, `${var.NAME}` and `$${` stay as they are."""
    pieces: list[str | _RowKey] = []
    end = 0
    for match in REFERENCE_PATTERN.finditer(text):
        pieces.append(text[end : match.start()])
        end = match.end()
        if match[1] is None:
            pieces.append(match[0] if takes_variables else "${")
            continue
        reference = match[1].strip() if match[2] else ""
        if (key_match := _ROW_KEY.fullmatch(reference)) is not None:
            pieces.append(_RowKey(key_match[1]))
        elif takes_variables and _VARIABLE_NAME.fullmatch(reference):
            pieces.append(match[0])
        else:
            forms = "${row.KEY} or ${var.NAME}" if takes_variables else "${row.KEY}"
            report(
                path,
                "Unknown reference",
                f"{match[0]} is not of the form {forms}",
                "write $${ where the text itself holds ${",
            )
    pieces.append(text[end:])
    return RowText(tuple(piece for piece in pieces if piece != ""))


@frozen
class _FilledMap:
    """A mapping in which something names a row."""

    children: dict[str, Any]


@frozen
class _FilledList:
    """A list in which something names a row."""

    children: list[Any]


def _parse_template_node(
    value: Any, path: FieldPath, report: ReportFinding, paths: dict[str, FieldPath]
) -> Any:
    if isinstance(value, str):
        if "${" not in value:
            return value
        takes_variables = bool(path) and path[0] in _FIELDS_WITH_VARIABLES
        text = parse_row_text(value, path, report, takes_variables=takes_variables)
        for key in text.keys:
            paths.setdefault(key, path)
        return text if text.keys else text.fill_as_text({})
    if isinstance(value, Mapping):
        children = {
            key: _parse_template_node(child, (*path, key), report, paths)
            for key, child in value.items()
        }
        for key in filter(lambda key: "${row." in key, children):
            report(
                (*path, key),
                "Row in a key",
                f"the key `{key}` names a row",
                "keys take no values of rows: write the key out",
            )
        is_same = all(child is value[key] for key, child in children.items())
        return value if is_same else _FilledMap(children)
    if isinstance(value, list):
        items = [
            _parse_template_node(item, (*path, index), report, paths)
            for index, item in enumerate(value)
        ]
        is_same = all(item is old for item, old in zip(items, value, strict=True))
        return value if is_same else _FilledList(items)
    return value


def _iter_children_made_for_each_row(node: Any) -> Iterable[Any]:
    """What is made anew for each row, of a mapping or a list; nothing of all else."""
    if isinstance(node, _FilledMap):
        return node.children.values()
    return node.children if isinstance(node, _FilledList) else ()


def _iter_row_texts(node: Any) -> Iterator[RowText]:
    if isinstance(node, RowText):
        yield node
    for child in _iter_children_made_for_each_row(node):
        yield from _iter_row_texts(child)


def _count_made_nodes(node: Any) -> int:
    return 1 + sum(map(_count_made_nodes, _iter_children_made_for_each_row(node)))


def _fill_node(node: Any, row: Mapping[str, RowValue]) -> Any:
    if isinstance(node, RowText):
        return node.fill_with(row)
    if isinstance(node, _FilledMap):
        return {key: _fill_node(child, row) for key, child in node.children.items()}
    if isinstance(node, _FilledList):
        return [_fill_node(child, row) for child in node.children]
    return node
