"""Edits of a YAML text in place: one value changes, every other byte stays as it is.

A text is changed by cutting at offsets, never by writing a document anew, and an edit counts only
when reading it again shows the very change that was asked for and no other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from synapse_apply.manifests.likeness import told
from synapse_apply.manifests.merging import merged
from synapse_apply.manifests.reader import Document, Reading, read
from synapse_apply.manifests.reshaping import as_lines, in_brackets, instead, is_collection
from synapse_apply.manifests.scalar_texts import as_literal, on_one_line
from synapse_apply.manifests.slots import Slot, cut, entries, remarks
from synapse_apply.manifests.spans import BREAK, Node, column, documents, last_offset, line_end
from synapse_apply.manifests.wording import dotted
from synapse_apply.model.diagnostic import Diagnostic, Path, error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import ABSENT

_BOM = "\ufeff"


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
    wanted = asked.expected()
    if wanted == asked.now:
        return text
    for candidate in candidates:
        reading = read(candidate, name)
        if not reading.diagnostics and asked.said(reading) == wanted:
            return candidate
    why, hint = "changing it would change more than it", "It may be shared through an alias."
    if asked.lost:
        why, hint = f"the comment `{asked.lost[0]}` in it would be lost", ""
    raise InputError(asked.problem(why, hint))


def _copied(found: Sequence[Document]) -> list[Any]:
    """The values of documents, by way of JSON: what aliases share must not change in two places."""
    return list(json.loads(json.dumps([document.value for document in found])))


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
        self._root = Slot(roots[edit.document], reading.documents[edit.document].value)
        self.now = self.said(reading)
        self.lost: list[str] = []

    def said(self, reading: Reading) -> str:
        """What a text says; equal for two that differ in nothing that counts.

        Outside of the edit the order of keys counts, and 1 is not 1.0.
        """
        return self._said(_copied(reading.documents))

    def expected(self) -> str:
        """What is said after the edit."""
        values = _copied(self._documents)
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
        return self._said(values)

    def _said(self, values: list[Any]) -> str:
        edit, inside = self._edit, ""
        if is_collection(edit.value) and edit.document < len(values):
            at: Any = values[edit.document]
            try:
                for part in edit.path[:-1]:
                    at = at[part]
                inside = told(at[edit.path[-1]])
                at[edit.path[-1]] = None
            except (KeyError, IndexError, TypeError):
                pass  # it is not there
        return json.dumps(values) + inside

    def candidates(self) -> Iterator[str]:
        """Texts that may be what is wanted, the one that keeps most of the style first."""
        parent, slot = self._slots()
        value = self._edit.value
        if value is ABSENT:
            key = self._edit.path[-1]
            yield from self._merged(parent, {k: v for k, v in parent.value.items() if k != key})
        elif slot is None:
            yield from self._inserted(parent.node)
        else:
            self._check(slot.node, "its value")
            if not (self._edit.whole or (slot.node.is_scalar and not is_collection(value))):
                self.refuse("a list or a mapping stands there")
            yield from self._merged(slot, value)
            if slot.node.is_scalar:
                return
            self.lost = remarks(self._text, slot.node)
            if not self.lost:
                for lines in (True, False):
                    yield cut(
                        self._text,
                        instead(self._text, slot, value, self._line_break(), lines=lines),
                    )

    def _merged(self, slot: Slot, value: Any) -> Iterator[str]:
        for literals in (True, False):
            made = merged(self._text, slot, value, self._line_break(), literals=literals)
            yield cut(self._text, made)

    def _slots(self) -> tuple[Slot, Slot | None]:
        """What the value stands in, and the value; refused where there is no such thing."""
        parent = self._root
        for part in self._edit.path[:-1]:
            self._check(parent.node, "what it stands in")
            below = self._below(parent, part)
            if below is None:
                self.refuse("there is nothing it could stand in")
            parent = below
        self._check(parent.node, "what it stands in")
        found = self._below(parent, self._edit.path[-1])
        if not parent.node.is_map and found is None:
            self.refuse("there is nothing it could stand in")
        return parent, found

    def _below(self, slot: Slot, part: str | int) -> Slot | None:
        """The value of a key, or an item; None where there is none."""
        found = (one.slot for one in entries(self._text, slot) if one.key == part)
        return next(found, None)

    def _check(self, node: Node, what: str) -> None:
        if node.alias:
            self.refuse(f"{what} is the alias *{node.alias}", "Write the value out.")
        if node.is_scalar and node.mark:
            self.refuse(f"{what} has an anchor or a tag ({node.mark})", "Write it without.")

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
