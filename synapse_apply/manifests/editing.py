"""Edits of a YAML text in place: one value changes, every other byte stays as it is.

A text is changed by cutting at offsets, never by writing a document anew, and an edit counts only
when reading it again shows the very change that was asked for and no other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

from synapse_apply.manifests.reader import read
from synapse_apply.manifests.reshaping import (
    as_lines,
    in_brackets,
    is_collection,
    removed,
    replaced,
)
from synapse_apply.manifests.scalar_texts import as_literal, on_one_line
from synapse_apply.manifests.spans import BREAK, Node, column, documents, last_offset, line_end
from synapse_apply.manifests.wording import dotted
from synapse_apply.model.diagnostic import Diagnostic, Path, error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import ABSENT

_BOM = "\ufeff"
_BLOCK = frozenset("|>")


@frozen
class Edit:
    """A JSON value that shall stand at a path of a document; ABSENT takes the key out.

    `document` counts those of a text that are not empty, from 0. A key that is not there is made
    in its map, behind the key `after`, or at the end. `whole`: a list or a map may become another
    one, or be made; else only scalars are edited.
    """

    path: Path
    value: Any
    document: int = 0
    after: str = ""
    whole: bool = False


def edited(text: str, name: str, edits: Iterable[Edit]) -> str:
    """The text with all edits made, its style, comments and line ends kept.

    `name` is the file's in findings. InputError for a text with errors, and for an edit that
    cannot be made so that it changes nothing else.
    """
    bom = _BOM if text.startswith(_BOM) else ""
    made = text.removeprefix(_BOM)
    for edit in edits:
        made = _with(made, name, edit)
    return bom + made


def _with(text: str, name: str, edit: Edit) -> str:
    asked = _Asked(text, name, edit)
    candidates = list(asked.candidates())
    wanted = _same_as(asked.expected())
    if wanted == asked.now:
        return text
    for candidate in candidates:
        reading = read(candidate, name)
        if not reading.diagnostics and _same_as([d.value for d in reading.documents]) == wanted:
            return candidate
    why = "changing it would change more than it"
    raise InputError(asked.problem(why, "It may be shared through an alias."))


def _same_as(values: list[Any]) -> str:
    """Two lists of documents with one text are equal, the order of keys and 1 and 1.0 included."""
    return json.dumps(values)


class _Asked:
    """One edit of one text: what is expected of it, and the ways to write it."""

    def __init__(self, text: str, name: str, edit: Edit) -> None:
        self._text = text
        self._name = name
        self._edit = edit
        reading = read(text, name)
        if reading.diagnostics:
            raise InputError(*reading.diagnostics)
        self._documents = reading.documents
        roots = documents(text)
        if edit.document >= len(roots):
            raise IndexError(f"{name} has no document {edit.document}")
        self._root = roots[edit.document]

    @property
    def now(self) -> str:
        return _same_as([document.value for document in self._documents])

    def expected(self) -> list[Any]:
        """The values of all documents after the edit."""
        # By way of JSON, since what aliases share in memory must not change in two places.
        values = json.loads(json.dumps([document.value for document in self._documents]))
        at: Any = values[self._edit.document]
        last: Any = self._edit.path[-1]
        for part in self._edit.path[:-1]:
            at = at[part]
        if self._edit.value is ABSENT:
            at.pop(last, None)
        elif isinstance(at, list) or last in at:
            at[last] = self._edit.value
        else:
            pairs, keys = list(at.items()), list(at)
            behind = keys.index(self._edit.after) + 1 if self._edit.after in at else len(keys)
            pairs.insert(behind, (last, self._edit.value))
            at.clear()
            at.update(pairs)
        return list(values)

    def candidates(self) -> Iterator[str]:
        """Texts that may be what is wanted, the one that keeps most of the style first."""
        parent = self._parent()
        key, value = self._edit.path[-1], self._edit.value
        node = parent.get(key)
        if value is ABSENT:
            yield from removed(self._text, parent, key)
        elif node is None:
            yield from self._inserted(parent)
        else:
            self._check(node, "its value")
            if node.is_scalar and not is_collection(value):
                yield from self._replaced(parent, node)
            elif self._edit.whole:
                yield from replaced(self._text, parent, key, value, self._line_break())
            else:
                self.refuse("a list or a mapping stands there")

    def _parent(self) -> Node:
        """What the value stands in; refused where there is no such thing."""
        parent = self._root
        for part in self._edit.path[:-1]:
            self._check(parent, "what it stands in")
            below = parent.get(part)
            if below is None:
                self.refuse("there is nothing it could stand in")
            parent = below
        self._check(parent, "what it stands in")
        if not parent.is_map and parent.get(self._edit.path[-1]) is None:
            self.refuse("there is nothing it could stand in")
        return parent

    def _check(self, node: Node, what: str) -> None:
        if node.alias:
            self.refuse(f"{what} is the alias *{node.alias}", "Write the value out.")
        if node.is_scalar and node.mark:
            self.refuse(f"{what} has an anchor or a tag ({node.mark})", "Write it without.")

    def _replaced(self, parent: Node, node: Node) -> Iterator[str]:
        text, value = self._text, self._edit.value
        end = last_offset(text, node)
        before, rest = text[: node.start], text[end:]
        rest_of_line = text[end : line_end(text, end)]
        is_block = node.style in _BLOCK
        many = isinstance(value, str) and "\n" in value and "\n" not in (node.value or "")
        if (is_block or many) and not parent.flow and not (rest_of_line.strip() and not is_block):
            literal = as_literal(value, self._indent(parent, node), self._line_break())
            if literal:
                remark = self._remark(node) if is_block else ""
                yield before + literal[0] + remark + literal[1] + rest
        gap = " " if node.start == node.end and before[-1:] == ":" else ""
        style = "" if is_block else node.style
        yield before + gap + on_one_line(value, style, flow=parent.flow) + rest

    def _remark(self, node: Node) -> str:
        """What stands behind the header of a block scalar: a comment."""
        head = self._text[node.start : line_end(self._text, node.start)]
        return head.lstrip("|>+-0123456789").rstrip()

    def _indent(self, parent: Node, node: Node) -> str:
        """The indentation of a block scalar's lines: those it has, else two more than its key."""
        for line in BREAK.split(self._text[node.start : node.end])[1:]:
            if line.strip() and node.style in _BLOCK:
                return line[: len(line) - len(line.lstrip(" "))]
        first = parent.pairs[0][0] if parent.pairs else parent.items[0]
        return " " * (column(self._text, first.start) + 2)

    def _inserted(self, parent: Node) -> Iterator[str]:
        text, value = self._text, self._edit.value
        key = str(self._edit.path[-1])
        if not parent.pairs:
            pair = f"{on_one_line(key, flow=True)}: {in_brackets(value)}"
            yield text[: parent.end - 1] + pair + text[parent.end - 1 :]
            return
        named = (pair for pair in parent.pairs if pair[0].value == self._edit.after)
        before, last = next(named, parent.pairs[-1])
        end = last_offset(text, last)
        if parent.flow:
            quote = '"' if before.style == '"' else ""
            shown = (
                in_brackets(value) if is_collection(value) else on_one_line(value, quote, flow=True)
            )
            pair = f"{on_one_line(key, quote, flow=True)}: {shown}"
            yield f"{text[:end]}, {pair}{text[end:]}"
            return
        end = line_end(text, end)
        indent = " " * column(text, parent.pairs[0][0].start)
        head = f"{text[:end]}{self._line_break(end)}{indent}{on_one_line(key, before.style)}: "
        if is_collection(value):
            lines = as_lines(value, indent + "  ") if value else []
            below = "".join(self._line_break() + line for line in lines)
            yield f"{head.rstrip()}{below or ' ' + in_brackets(value)}{text[end:]}"
            return
        literal = as_literal(value, indent + "  ", self._line_break())
        if literal and "\n" in value:
            yield head + "".join(literal) + text[end:]
        yield head + on_one_line(value) + text[end:]

    def _line_break(self, offset: int = 0) -> str:
        """The line break at or behind an offset, else the first of the text."""
        found = BREAK.search(self._text, offset) or BREAK.search(self._text)
        return found.group() if found else "\n"

    def refuse(self, why: str, hint: str = "") -> NoReturn:
        """InputError: this edit cannot be made."""
        raise InputError(self.problem(why, hint))

    def problem(self, why: str, hint: str = "") -> Diagnostic:
        """What is told of an edit that cannot be made."""
        positions = self._documents[self._edit.document].positions
        path = self._edit.path
        while path and path not in positions:
            path = path[:-1]
        return error(
            "This cannot be edited in place",
            f"`{dotted(self._edit.path)}`: {why}.",
            f"{hint} Or edit the file by hand.".strip() if hint else "Edit the file by hand.",
            position=replace(positions[path], file=self._name),
            path=self._edit.path,
        )
