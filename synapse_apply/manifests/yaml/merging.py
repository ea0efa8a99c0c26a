"""How a list or map in a YAML text becomes another one, without touching what stays the same.

Maps change key by key and lists item by item, at every depth. A removed entry takes the
comment on its line with it, an item also the comment lines right above it; those above the first
item of a list stay, since they may be about all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from synapse_apply.manifests.yaml.bracketed import iter_bracket_cuts
from synapse_apply.manifests.yaml.likeness import format_normalized_json, pair_list_items
from synapse_apply.manifests.yaml.reshaping import (
    find_common_quote,
    format_block_lines,
    format_flow_value,
    is_collection,
    list_replacing_cuts,
    locate_value_slot,
)
from synapse_apply.manifests.yaml.slots import (
    Cut,
    SlotEntry,
    ValueSlot,
    is_comment_indented,
    is_first_in_line,
    list_entries,
    locate_line_start,
    locate_next_line_start,
    locate_previous_line_end,
)
from synapse_apply.manifests.yaml.spans import count_before_in_line, locate_line_end
from synapse_apply.manifests.yaml.write_scalars import format_inline_scalar
from synapse_apply.model.frozen import mutable


@mutable
class ContainerChanges:
    """Which entries of a list or map stay, with which value, and which are new.

    `kept_values` has the new value of each entry that stays, by index; `added_after` new ones by
    the index of the entry that they follow, -1 for the start: items, or pairs of key and
    value.
    """

    entries: list[SlotEntry]
    kept_values: dict[int, Any] = field(default_factory=dict)
    added_after: dict[int, list[Any]] = field(default_factory=dict)

    @property
    def removed_indexes(self) -> list[int]:
        return [index for index in range(len(self.entries)) if index not in self.kept_values]

    def add_value_after(self, index: int, value: Any) -> None:
        self.added_after.setdefault(index, []).append(value)


def diff_containers(text: str, slot: ValueSlot, value: Any, *, in_list: bool) -> ContainerChanges:
    """The changes by which a list or map becomes `value`; inside of a list a null key is absent."""
    result = ContainerChanges(list_entries(text, slot))
    entries = result.entries
    if isinstance(value, Mapping):
        for index, element in enumerate(entries):
            # In a list a plan takes null for absent, so an explicit null may stay as it is.
            if element.key in value or (in_list and element.slot.value is None):
                result.kept_values[index] = value.get(element.key)
        for pair in value.items():
            if pair[0] not in slot.value and not (in_list and pair[1] is None):
                result.add_value_after(max(result.kept_values, default=-1), pair)
        return result
    pairs = pair_list_items(slot.value, value)
    result.kept_values = {index: value[n] for index, n in pairs}
    old_index_by_new = {n: index for index, n in pairs}
    previous = -1
    for n, element in enumerate(value):
        if n in old_index_by_new:
            previous = old_index_by_new[n]
        else:
            result.add_value_after(previous, element)
    return result


def iter_turning_cuts(
    text: str,
    slot: ValueSlot,
    value: Any,
    line_break: str,
    *,
    allow_literals: bool,
    in_list: bool = False,
) -> Iterator[Cut]:
    """Cuts that turn a value into another one; `allow_literals` as in `build_scalar_cut`."""
    node = slot.node
    if format_normalized_json(slot.value, in_list=in_list) == format_normalized_json(
        value, in_list=in_list
    ) and (is_collection(value) or type(slot.value) is type(value) or in_list):
        return
    # A list that becomes a map or a scalar has no entries to keep.
    if not _can_merge_parts(text, slot, value):
        yield from list_replacing_cuts(
            text, slot, value, line_break, allow_block=True, allow_literals=allow_literals
        )
        return
    container_changes = diff_containers(text, slot, value, in_list=in_list)
    is_child_in_list = in_list or not node.is_map
    for index, new_value in container_changes.kept_values.items():
        child_slot = container_changes.entries[index].slot
        yield from iter_turning_cuts(
            text,
            child_slot,
            new_value,
            line_break,
            allow_literals=allow_literals,
            in_list=is_child_in_list,
        )
    if not container_changes.removed_indexes and not container_changes.added_after:
        return
    if node.flow:
        yield from iter_bracket_cuts(
            text,
            slot,
            container_changes.entries,
            set(container_changes.kept_values),
            container_changes.added_after,
            line_break,
        )
    else:
        yield from _LineCuts(
            text, slot, container_changes, line_break, allow_literals=allow_literals
        ).iter_cuts()


def _can_merge_parts(text: str, slot: ValueSlot, value: Any) -> bool:
    """Whether both are lists or both maps, and the old one's entries can be edited one by one."""
    node = slot.node
    if node.is_scalar or node.alias or not is_collection(value):
        return False
    if node.flow and text[node.end - 1 : node.end] not in {"}", "]"}:
        return False  # a lone pair in a list, without brackets
    return node.is_map is isinstance(value, Mapping)


class _LineCuts:
    """Cuts in a block list or map, in which each entry has its own lines."""

    def __init__(
        self,
        text: str,
        slot: ValueSlot,
        changes: ContainerChanges,
        line_break: str,
        *,
        allow_literals: bool,
    ) -> None:
        self._text = text
        self._slot = slot
        self._changes = changes
        self._entries = changes.entries
        self._line_break = line_break
        self._allow_literals = allow_literals
        self._item_style: tuple[str, int] | None = None
        self._indent_width = count_before_in_line(text, changes.entries[0].start)
        # Whether the first entry stands on the line of the dash of the list item that it is in.
        self._is_inline = (
            not is_first_in_line(text, changes.entries[0].start) or slot.base_column < 0
        )

    def iter_cuts(self) -> Iterator[Cut]:
        changes = self._changes
        if not changes.kept_values and not changes.added_after:
            yield from self._iter_emptying_cuts()
            return
        first_kept = min(changes.kept_values, default=len(self._entries))
        new_lines = {
            index: self._format_new_items(values) for index, values in changes.added_after.items()
        }
        # New entries before the first kept one take the place of the removed entries there.
        early_lines = [
            line for index in sorted(new_lines) if index < first_kept for line in new_lines[index]
        ]
        # The first entry's indentation is on the line already, so the new lines bring their own.
        if early_lines and first_kept == 0:
            start = self._entries[0].start
            lines = [*early_lines, " " * self._indent_width]
            yield start, start, self._line_break.join(lines)[self._indent_width :]
        elif early_lines:
            new_lines = {
                index: lines for index, lines in new_lines.items() if index >= first_kept
            } | {0: early_lines}
        if first_kept and not early_lines:
            yield from self._iter_leading_removal_cuts(first_kept)
        for index in range(0 if early_lines else first_kept, len(self._entries)):
            yield from self._iter_entry_cuts(index, new_lines.get(index, []))

    def _iter_entry_cuts(self, index: int, new_lines: list[str]) -> Iterator[Cut]:
        """Cuts for one entry: removed, replaced by new lines, or followed by them."""
        text, entry = self._text, self._entries[index]
        if index in self._changes.kept_values:
            if new_lines:
                end = self._end_with_comments(index)
                yield end, end, "".join(self._line_break + line for line in new_lines)
            return
        start, end = (self._start_with_comments(index), self._end_with_comments(index))
        if new_lines and not is_first_in_line(text, entry.start):
            yield entry.start, end, self._line_break.join(new_lines)[self._indent_width :]
        elif new_lines:
            yield start, end, self._line_break.join(new_lines)
        elif end == len(text) or not start:
            yield start, locate_next_line_start(text, end), ""
        else:
            yield locate_previous_line_end(text, start), end, ""

    def _iter_leading_removal_cuts(self, first_kept: int) -> Iterator[Cut]:
        """Cuts that remove the entries before the first kept one."""
        text, entries = self._text, self._entries
        if is_first_in_line(text, entries[0].start):
            for index in range(first_kept):
                yield from self._iter_entry_cuts(index, [])
            return
        neighbours = zip(range(first_kept), range(1, first_kept + 1), strict=True)
        gaps = (
            text[self._end_with_comments(a) : locate_line_start(text, entries[b].start)]
            for a, b in neighbours
        )
        # Without comments between the removed entries one cut is enough.
        if not any("#" in gap for gap in gaps):
            yield entries[0].start, entries[first_kept].start, ""
            return
        indent_width = len(
            text[locate_line_start(text, entries[0].start) : entries[0].start].rstrip(" ")
        )
        yield (
            locate_line_start(text, entries[0].start) + indent_width,
            self._end_with_comments(0),
            "",
        )
        for index in range(1, first_kept):
            yield from self._iter_entry_cuts(index, [])

    def _iter_emptying_cuts(self) -> Iterator[Cut]:
        """Cuts that replace all entries by empty brackets; comments on lines of their own stay."""
        entry = self._entries[0]
        brackets = "{}" if self._slot.node.is_map else "[]"
        if self._is_inline:
            yield entry.start, entry.end, brackets
        else:
            value_offset = locate_value_slot(self._text, self._slot)
            yield value_offset, value_offset, f" {brackets}"
        for index in range(1 if self._is_inline else 0, len(self._entries)):
            yield from self._iter_entry_cuts(index, [])

    def _start_with_comments(self, index: int) -> int:
        """Where an entry's lines begin, including the comment lines above an item but the first."""
        text = self._text
        start = locate_line_start(text, self._entries[index].start)
        # Comments above a key may be about several keys, and those above the first item about all
        # items.
        if self._slot.node.is_map or not index:
            return start
        floor = self._end_with_comments(index - 1)
        while (
            previous_start := locate_line_start(text, locate_previous_line_end(text, start))
        ) > floor:
            if not is_comment_indented(text, previous_start, self._indent_width):
                break
            start = previous_start
        return start

    def _end_with_comments(self, index: int) -> int:
        """Where an entry's last line ends.

        Comments that are indented deeper than a dash belong to it.
        """
        text = self._text
        end = locate_line_end(text, self._entries[index].end)
        while not self._slot.node.is_map and end < len(text):
            next_start = locate_next_line_start(text, end)
            if not is_comment_indented(text, next_start, self._indent_width, deeper=True):
                break
            end = locate_line_end(text, next_start)
        return end

    def _format_new_items(self, items_or_pairs: list[Any]) -> list[str]:
        """The lines of new entries in the style of those there: items, or (key, value) of a map."""
        indent = " " * self._indent_width
        if self._slot.node.is_map:
            name = find_common_quote([name for name, _ in self._slot.node.pairs])
            return format_block_lines(
                dict(items_or_pairs), indent, allow_literals=self._allow_literals, key_quote=name
            )
        quote, step = self._item_style = self._item_style or self._detect_item_style()
        lines: list[str] = []
        for value in items_or_pairs:
            if step and isinstance(value, Mapping) and value:
                child_lines = format_block_lines(
                    value, indent + " " * step, allow_literals=self._allow_literals
                )
                lead = f"{indent}-".ljust(self._indent_width + step)
                lines += [lead + child_lines[0][len(lead) :], *child_lines[1:]]
            elif is_collection(value):
                lines.append(f"{indent}- {format_flow_value(value)}")
            else:
                lines.append(f"{indent}- {format_inline_scalar(value, quote)}")
        return lines

    def _detect_item_style(self) -> tuple[str, int]:
        """The items' quote, and the columns between a dash and its block item (0 without any)."""
        quote = find_common_quote(
            [entry.slot.node for entry in self._entries if isinstance(entry.slot.value, str)]
        )
        item_starts = [
            entry.slot.node.start for entry in self._entries if entry.slot.is_block_collection
        ]
        steps = (
            count_before_in_line(self._text, offset) - self._indent_width
            for offset in item_starts
            if not is_first_in_line(self._text, offset)
        )
        return quote, next(steps, 2 if item_starts else 0)
