"""How a value in a YAML text is changed in place, with every other byte left as it is.

A text is changed by cutting at offsets, never by writing a document anew, and an edit counts only
when reading it again shows the very change that was asked for and no other. Anchors, aliases and
tags are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from synapse_apply.manifests.yaml.merging import Merger, format_normalized_json
from synapse_apply.manifests.yaml.reader import BOM, ReadResult, read_documents
from synapse_apply.manifests.yaml.spans import LINE_BREAK, Node, Slot, Written, parse_nodes
from synapse_apply.manifests.yaml.writing import is_collection
from synapse_apply.model.diagnostic import FieldPath, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.values import ABSENT


@frozen
class Edit:
    """A JSON value to write at a path of a document; ABSENT removes the key.

    `document` is its number among the text's non-empty ones, from 0. A missing key is added to
    its map, behind the key `after_key`, or at the end. With `allow_collections` a list or a map may
    be changed or added; else only scalars are edited.
    """

    path: FieldPath
    value: Any
    document: int = 0
    after_key: str = ""
    allow_collections: bool = False


def apply_edits(text: str, name: str, edits: Iterable[Edit]) -> str:
    """The text with all edits applied, its style, comments and line ends kept.

    `name` is the file's in findings. Raises InputError for a text with errors, and for an edit that
    cannot be made without changing anything else.
    """
    bom = BOM if text.startswith(BOM) else ""
    edited_text = text.removeprefix(BOM)
    for edit in edits:
        edited_text = _EditRequest(edited_text, name, edit).edited()
    return bom + edited_text


class _EditRequest:
    """One edit of one text: the content that it should lead to, and candidate texts for it."""

    def __init__(self, text: str, name: str, edit: Edit) -> None:
        self._text = Written(text)
        self._name = name
        self._edit = edit
        self._reading = read_documents(text, name)
        if self._reading.diagnostics:
            raise InputError(*self._reading.diagnostics)
        self._nodes = parse_nodes(text)
        if edit.document >= len(self._nodes):
            raise IndexError(f"{name} has no document {edit.document}")
        line_break = LINE_BREAK.search(text)
        self._line_break = line_break.group() if line_break else "\n"
        self._lost_comments: list[str] = []

    def edited(self) -> str:
        """The text with the edit made; InputError where only more could be changed than it."""
        # Several ways of writing a value are tried, since only reading the result shows which one
        # is right.
        candidates = list(self._candidates())
        expected_content = self._content(self._reading, is_expected=True)
        if expected_content == self._content(self._reading):
            return str(self._text)
        for candidate in candidates:
            reading = read_documents(candidate, self._name)
            if not reading.diagnostics and self._content(reading) == expected_content:
                return candidate
        if self._lost_comments:
            raise self._refusal(f"its comment `{self._lost_comments[0]}` would be lost")
        hint = "An alias may share the value."
        raise self._refusal("the edit would also change other values", hint)

    def _content(self, reading: ReadResult, *, is_expected: bool = False) -> str:
        """The content of a text as JSON, equal for two texts that mean the same.

        With `is_expected`, with the edit made. Outside of the edited value the order of keys
        counts, and 1 is not 1.0.
        """
        edit = self._edit
        # copy.deepcopy would keep what aliases share, and an edit would change both places.
        values = json.loads(json.dumps([document.value for document in reading.documents]))
        container: Any = None
        last_part: Any = edit.path[-1]
        with suppress(KeyError, IndexError, TypeError):  # it is not there
            container = values[edit.document]
            for part in edit.path[:-1]:
                container = container[part]
            if is_expected:
                _make_edit(container, last_part, edit)
            if is_collection(edit.value):
                # Taken out and compared apart, since inside of the edited value the order of keys
                # is free.
                edited_value = format_normalized_json(container[last_part])
                container[last_part] = None
                return json.dumps(values) + edited_value
        return json.dumps(values)

    def _candidates(self) -> Iterator[str]:
        """Texts with the edit made, the one that keeps most of the style first."""
        edit, key = self._edit, self._edit.path[-1]
        parent, slot = self._find_slots()
        if slot is None or edit.value is ABSENT:
            wanted = {name: value for name, value in parent.value.items() if name != key}
            if edit.value is not ABSENT:
                wanted[key] = edit.value
            yield from self._merged_texts(parent, wanted)
            return
        self._require_editable(slot.node, "its value")
        if not edit.allow_collections and (is_collection(edit.value) or not slot.node.is_scalar):
            raise self._refusal("the value there is a list or a mapping")
        yield from self._merged_texts(slot, edit.value)
        if slot.node.is_scalar:
            return
        self._lost_comments = self._text.comments(slot.node)
        for on_lines in () if self._lost_comments else (True, False):
            merger = Merger(self._text, self._line_break, literals=True)
            merger.replace(slot, edit.value, on_lines=on_lines)
            yield self._text.cut(merger.cuts)

    def _merged_texts(self, slot: Slot, value: Any) -> Iterator[str]:
        for literals in (True, False):
            merger = Merger(self._text, self._line_break, literals=literals)
            merger.turn(slot, value, after_key=self._edit.after_key)
            yield self._text.cut(merger.cuts)

    def _find_slots(self) -> tuple[Slot, Slot | None]:
        """The slots of the containing map or list, and of the value (None for a new key).

        Raises InputError where there is no container, or it cannot be edited.
        """
        number = self._edit.document
        slot: Slot | None = Slot(
            self._text, self._nodes[number], self._reading.documents[number].value
        )
        parent = None
        for part in self._edit.path:
            if slot is None:
                raise self._refusal("it has no parent in the file")
            parent = slot
            self._require_editable(parent.node, "what it stands in")
            slot = next((entry for entry in parent.entries() if entry.key == part), None)
        if parent is None or (slot is None and not parent.node.is_map):
            raise self._refusal("it has no parent in the file")
        return parent, slot

    def _require_editable(self, node: Node, subject: str) -> None:
        if node.alias:
            raise self._refusal(
                f"{subject} is the alias *{node.alias}", "Replace the alias with the value."
            )
        if node.is_scalar and node.properties:
            reason = f"{subject} has an anchor or a tag ({node.properties})"
            raise self._refusal(reason, "Remove the anchor or tag.")

    def _refusal(self, reason: str, hint: str = "") -> InputError:
        """The error for an edit that cannot be made."""
        positions = self._reading.documents[self._edit.document].positions
        path = self._edit.path
        while path and path not in positions:
            path = path[:-1]
        return InputError(
            error_finding(
                "This cannot be edited in place",
                f"`{format_field_path(self._edit.path)}`: {reason}.",
                f"{hint} Or edit the file manually." if hint else "Edit the file manually.",
                position=replace(positions[path], file=self._name),
                path=self._edit.path,
            )
        )


def _make_edit(container: Any, key: Any, edit: Edit) -> None:
    """Make the edit at a key of a list or a map, in which a new one comes behind `after_key`."""
    if edit.value is ABSENT:
        container.pop(key, None)
    elif isinstance(container, list) or key in container:
        container[key] = edit.value
    else:
        # A dict cannot insert at a position, so it is built anew in order.
        pairs = dict(container)
        container.clear()
        for name, value in pairs.items():
            container[name] = value
            if name == edit.after_key:
                container[key] = edit.value
        container.setdefault(key, edit.value)
