"""How a value in a YAML text is changed in place, with every other byte left as it is.

A text is changed by cutting at offsets, never by writing a document anew, and an edit counts only
when reading it again shows the very change that was asked for and no other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from synapse_apply.manifests.yaml.merging import (
    format_block_lines,
    format_flow_value,
    format_normalized_json,
    is_collection,
    iter_turning_cuts,
    list_replacing_cuts,
)
from synapse_apply.manifests.yaml.reader import Document, ReadResult, read_documents
from synapse_apply.manifests.yaml.spans import (
    LINE_BREAK,
    SourceNode,
    ValueSlot,
    apply_cuts,
    count_before_in_line,
    list_comments,
    list_entries,
    locate_line_end,
    locate_value_end,
    parse_nodes,
)
from synapse_apply.manifests.yaml.writing import format_block_scalar, format_inline_scalar
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.values import ABSENT

_BOM = "\ufeff"


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


# Cut at offsets of the parser's marks, never by writing a document anew. An edit counts only when
# reading the text again shows that change and no other; anchors, aliases and tags are refused.
def apply_edits(text: str, name: str, edits: Iterable[Edit]) -> str:
    """The text with all edits applied, its style, comments and line ends kept.

    `name` is the file's in findings. Raises InputError for a text with errors, and for an edit that
    cannot be made without changing anything else.
    """
    bom = _BOM if text.startswith(_BOM) else ""
    edited_text = text.removeprefix(_BOM)
    for edit in edits:
        edited_text = _apply_edit_keeping_rest(edited_text, name, edit)
    return bom + edited_text


def _apply_edit_keeping_rest(text: str, name: str, edit: Edit) -> str:
    request = _EditRequest(text, name, edit)
    # Several ways of writing a value are tried, since only reading the result shows if one is
    # right.
    candidates = list(request.iter_candidate_texts())
    expected_content = request.compute_expected_content()
    if expected_content == request.current_content:
        return text
    for candidate in candidates:
        reading = read_documents(candidate, name)
        if not reading.diagnostics and request.comparable_content(reading) == expected_content:
            return candidate
    reason, hint = "changing it would change more than it", "It may be shared through an alias."
    if request.lost_comments:
        reason, hint = f"the comment `{request.lost_comments[0]}` in it would be lost", ""
    raise InputError(request.build_refusal(reason, hint))


def _copy_document_values(documents_read: Sequence[Document]) -> list[Any]:
    """Deep copies of the documents' values, in which aliases share nothing."""
    # copy.deepcopy would keep the sharing, and an edit would change both places.
    return list(json.loads(json.dumps([document.value for document in documents_read])))


class _EditRequest:
    """One edit of one text: the content that it should lead to, and candidate texts for it."""

    def __init__(self, text: str, name: str, edit: Edit) -> None:
        self._text = text
        self._name = name
        self._edit = edit
        reading = read_documents(text, name)
        if reading.diagnostics:
            raise InputError(*reading.diagnostics)
        self._documents = reading.documents
        roots = parse_nodes(text)
        if edit.document >= len(roots):
            raise IndexError(f"{name} has no document {edit.document}")
        self._root = ValueSlot(roots[edit.document], reading.documents[edit.document].value)
        self.current_content = self.comparable_content(reading)
        self.lost_comments: list[str] = []

    def comparable_content(self, reading: ReadResult) -> str:
        """The content of a read text as JSON, equal for two texts that mean the same.

        Outside of the edited value the order of keys counts, and 1 is not 1.0.
        """
        return self._format_for_comparison(_copy_document_values(reading.documents))

    def compute_expected_content(self) -> str:
        """The comparable content that the edited text must have."""
        values = _copy_document_values(self._documents)
        container: Any = values[self._edit.document]
        last_part: Any = self._edit.path[-1]
        for part in self._edit.path[:-1]:
            container = container[part]
        if self._edit.value is ABSENT:
            container.pop(last_part, None)
        elif isinstance(container, list) or last_part in container:
            container[last_part] = self._edit.value
        else:
            # A dict cannot insert at a position, so it is built anew in order.
            pairs, keys = list(container.items()), list(container)
            insert_index = (
                keys.index(self._edit.after_key) + 1
                if self._edit.after_key in container
                else len(keys)
            )
            pairs.insert(insert_index, (last_part, self._edit.value))
            container.clear()
            container.update(pairs)
        return self._format_for_comparison(values)

    def _format_for_comparison(self, values: list[Any]) -> str:
        edit, edited_value = self._edit, ""
        if is_collection(edit.value) and edit.document < len(values):
            container: Any = values[edit.document]
            try:
                for part in edit.path[:-1]:
                    container = container[part]
                edited_value = format_normalized_json(container[edit.path[-1]])
                # Taken out and compared apart, since inside of the edited value the order of keys
                # is free.
                container[edit.path[-1]] = None
            except (KeyError, IndexError, TypeError):
                pass  # it is not there
        return json.dumps(values) + edited_value

    def iter_candidate_texts(self) -> Iterator[str]:
        """Candidate texts with the edit made, the one that keeps most of the style first."""
        parent, slot = self._require_slot()
        value = self._edit.value
        if value is ABSENT:
            key = self._edit.path[-1]
            yield from self._iter_merged_texts(
                parent, {k: v for k, v in parent.value.items() if k != key}
            )
        elif slot is None:
            yield from self._iter_texts_with_key(parent.node)
        else:
            self._require_editable(slot.node, "its value")
            if not (
                self._edit.allow_collections or (slot.node.is_scalar and not is_collection(value))
            ):
                self.raise_refusal("a list or a mapping stands there")
            yield from self._iter_merged_texts(slot, value)
            if slot.node.is_scalar:
                return
            self.lost_comments = list_comments(self._text, slot.node)
            if not self.lost_comments:
                for allow_block in (True, False):
                    yield apply_cuts(
                        self._text,
                        list_replacing_cuts(
                            self._text,
                            slot,
                            value,
                            self._detect_line_break(),
                            allow_block=allow_block,
                        ),
                    )

    def _iter_merged_texts(self, slot: ValueSlot, value: Any) -> Iterator[str]:
        for allow_literals in (True, False):
            cuts = iter_turning_cuts(
                self._text, slot, value, self._detect_line_break(), allow_literals=allow_literals
            )
            yield apply_cuts(self._text, cuts)

    def _require_slot(self) -> tuple[ValueSlot, ValueSlot | None]:
        """The slots of the containing map or list, and of the value (None for a new key).

        Raises InputError where there is no container, or it cannot be edited.
        """
        parent = self._root
        for part in self._edit.path[:-1]:
            self._require_editable(parent.node, "what it stands in")
            child_slot = self._find_child_slot(parent, part)
            if child_slot is None:
                self.raise_refusal("there is nothing it could stand in")
            parent = child_slot
        self._require_editable(parent.node, "what it stands in")
        value_slot = self._find_child_slot(parent, self._edit.path[-1])
        if not parent.node.is_map and value_slot is None:
            self.raise_refusal("there is nothing it could stand in")
        return parent, value_slot

    def _find_child_slot(self, slot: ValueSlot, part: str | int) -> ValueSlot | None:
        """The slot of a key's value, or of an item; None where there is none."""
        child_slots = (entry.slot for entry in list_entries(self._text, slot) if entry.key == part)
        return next(child_slots, None)

    def _require_editable(self, node: SourceNode, subject: str) -> None:
        if node.alias:
            self.raise_refusal(f"{subject} is the alias *{node.alias}", "Write the value out.")
        if node.is_scalar and node.properties:
            self.raise_refusal(
                f"{subject} has an anchor or a tag ({node.properties})", "Write it without."
            )

    def _iter_texts_with_key(self, parent: SourceNode) -> Iterator[str]:
        text, value = self._text, self._edit.value
        key = str(self._edit.path[-1])
        if not parent.pairs:
            pair = f"{format_inline_scalar(key, flow=True)}: {format_flow_value(value)}"
            yield text[: parent.end - 1] + pair + text[parent.end - 1 :]
            return
        preceding_pairs = (pair for pair in parent.pairs if pair[0].value == self._edit.after_key)
        previous_key, previous_value = next(preceding_pairs, parent.pairs[-1])
        end = locate_value_end(text, previous_value)
        if parent.flow:
            quote = '"' if previous_key.style == '"' else ""
            value_text = (
                format_flow_value(value)
                if is_collection(value)
                else format_inline_scalar(value, quote, flow=True)
            )
            pair = f"{format_inline_scalar(key, quote, flow=True)}: {value_text}"
            yield f"{text[:end]}, {pair}{text[end:]}"
            return
        end = locate_line_end(text, end)
        indent = " " * count_before_in_line(text, parent.pairs[0][0].start)
        line_head = (
            f"{text[:end]}{self._detect_line_break(end)}{indent}"
            f"{format_inline_scalar(key, previous_key.style)}: "
        )
        if is_collection(value):
            lines = format_block_lines(value, indent + "  ") if value else []
            child_text = "".join(self._detect_line_break() + line for line in lines)
            yield f"{line_head.rstrip()}{child_text or ' ' + format_flow_value(value)}{text[end:]}"
            return
        literal = format_block_scalar(value, indent + "  ", self._detect_line_break())
        if literal and "\n" in value:
            yield line_head + "".join(literal) + text[end:]
        yield line_head + format_inline_scalar(value) + text[end:]

    def _detect_line_break(self, offset: int = 0) -> str:
        """The next line break at or behind an offset, else the first of the text, else LF."""
        match = LINE_BREAK.search(self._text, offset) or LINE_BREAK.search(self._text)
        return match.group() if match else "\n"

    def raise_refusal(self, reason: str, hint: str = "") -> NoReturn:
        """Raise InputError with the refusal of this edit."""
        raise InputError(self.build_refusal(reason, hint))

    def build_refusal(self, reason: str, hint: str = "") -> Diagnostic:
        """The finding for an edit that cannot be made."""
        positions = self._documents[self._edit.document].positions
        path = self._edit.path
        while path and path not in positions:
            path = path[:-1]
        return error_finding(
            "This cannot be edited in place",
            f"`{format_field_path(self._edit.path)}`: {reason}.",
            f"{hint} Or edit the file by hand.".strip() if hint else "Edit the file by hand.",
            position=replace(positions[path], file=self._name),
            path=self._edit.path,
        )
