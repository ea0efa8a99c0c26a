"""How a value in a YAML text is changed in place, with every other byte left as it is.

Maps change key by key and lists item by item, at every depth. A removed entry takes the comment on
its line with it, an item also the comment lines right above it; those above the first item of a
list stay, since they may be about all of it.

A text is changed by cutting at offsets, never by writing a document anew, and an edit counts only
when reading it again shows the very change that was asked for and no other. Anchors, aliases and
tags are refused.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import pairwise, takewhile
from typing import Any

from synapse_apply.manifests.yaml.reader import BOM, ReadResult, read_documents
from synapse_apply.manifests.yaml.spans import (
    LINE_BREAK,
    LINE_BREAK_CHARS,
    Cut,
    Node,
    Slot,
    Written,
    parse_nodes,
)
from synapse_apply.manifests.yaml.writing import (
    format_block_lines,
    format_block_scalar,
    format_flow_value,
    format_inline_scalar,
    is_collection,
)
from synapse_apply.model.diagnostic import FieldPath, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.values import ABSENT


class Merger:
    """Collects the `cuts`, all to be made at once, by which values of one text become others.

    With `literals`, a text of several lines becomes a block scalar where one is possible.
    """

    def __init__(self, text: Written, line_break: str, *, literals: bool) -> None:
        self.text = text
        self.line_break = line_break
        self.literals = literals
        self.cuts: list[Cut] = []

    def cut(self, start: int, end: int, replacement: str = "") -> None:
        self.cuts.append((start, end, replacement))

    def turn(self, slot: Slot, value: Any, *, in_list: bool = False, after_key: str = "") -> None:
        """Turn a value into another one; inside of a list a null key is absent.

        A new key of a map comes behind `after_key`, where it has that, else at the end.
        """
        node = slot.node
        if format_normalized_json(slot.value, in_list=in_list) == format_normalized_json(
            value, in_list=in_list
        ) and (is_collection(value) or type(slot.value) is type(value) or in_list):
            return
        # A list that becomes a map or a scalar has no entries to keep, nor has a lone pair in a
        # list, without brackets.
        if (
            node.is_scalar
            or node.alias
            or not is_collection(value)
            or node.is_map is not isinstance(value, Mapping)
            or (node.flow and self.text[node.end - 1 : node.end] not in {"}", "]"})
        ):
            self.replace(slot, value)
            return
        container: _Brackets | _Lines = _Brackets(self, slot) if node.flow else _Lines(self, slot)
        container.compare(value, in_list, after_key)
        for index, new_value in container.kept.items():
            self.turn(container.entries[index], new_value, in_list=in_list or not node.is_map)
        if container.added or len(container.kept) < len(container.entries):
            container.write()

    def replace(self, slot: Slot, value: Any, *, on_lines: bool = True) -> None:
        """Replace a value of which nothing stays.

        With `on_lines`, a list or map may be written on lines of its own where the old one is.
        """
        if slot.has_lines:
            if on_lines and is_collection(value) and value:
                self._replace_by_lines(slot, value)
            else:
                self._replace_lines(slot, format_flow_value(value, flow=False))
        elif is_collection(value) or is_collection(slot.value):
            is_flow = slot.in_flow or is_collection(value)
            self._replace_inline(slot, format_flow_value(value, flow=is_flow))
        else:
            self._replace_scalar(slot, value)

    def _replace_inline(self, slot: Slot, new_text: str, rest: str = "") -> None:
        """Replace a value on its line; `rest` are lines behind the comment at its head."""
        node, start, text = slot.node, slot.node.start, self.text
        separator = ""
        if not slot.has_indicator:
            separator = ": "
        elif start == node.end and text[start - 1 : start] in {":", "-"}:
            separator = " "  # an empty value: the new one must not join the colon or the dash
        new_text = separator + new_text + text.header_comment(node) + rest
        self.cut(start, text.value_end(node), new_text)

    def _replace_scalar(self, slot: Slot, value: Any) -> None:
        """In the style of the old scalar, where that can hold the new one."""
        node, text = slot.node, self.text
        becomes_multiline = (
            isinstance(value, str) and "\n" in value and "\n" not in (node.scalar or "")
        )
        end = text.value_end(node)
        # A block scalar needs the rest of its line, so nothing may stand behind the old value.
        can_be_literal = node.is_block_scalar or (
            becomes_multiline and not text[end : text.line_end(end)].strip()
        )
        if self.literals and not slot.in_flow and can_be_literal:
            indent = " " * (slot.column + 2)
            lines = LINE_BREAK.split(text[node.start : node.end])[1:]
            if node.is_block_scalar and (line := next(filter(str.strip, lines), "")):
                indent = line[: len(line) - len(line.lstrip(" "))]
            if literal := format_block_scalar(value, indent, self.line_break):
                self._replace_inline(slot, *literal)
                return
        # The value is on one line now, where a block style is not possible.
        style = "" if node.is_block_scalar else node.style
        self._replace_inline(slot, format_inline_scalar(value, style, flow=slot.in_flow))

    def _replace_by_lines(self, slot: Slot, value: Any) -> None:
        text = self.text
        start, last = text.content_start(slot.node), text.value_end(slot.node)
        is_on_own_line, end = text.begins_line(start), text.line_end(last)
        width = text.column(start)
        if is_on_own_line and isinstance(value, Mapping):
            width = max(width, slot.column + 2)
        lines = format_block_lines(value, " " * width, literals=self.literals)
        if is_on_own_line:
            self.cut(text.line_start(start), end, self.line_break.join(lines))
        else:
            end = last if text.line_end(start) == end else end
            self.cut(start, end, self.line_break.join(lines).lstrip(" "))

    def _replace_lines(self, slot: Slot, new_text: str) -> None:
        """Replace the lines of a list or map by a value on one line."""
        text = self.text
        start, last = text.content_start(slot.node), text.value_end(slot.node)
        # The value moves up to the line of its key, and the old lines go.
        if text.begins_line(start) and slot.column >= 0:
            self.write_behind_key(slot, new_text)
            self.cut(text.previous_line_end(text.line_start(start)), text.line_end(last))
            return
        # A comment on the line of a dash belongs to that item, and stays behind the new value.
        end, first_entry_end = text.line_end(start), slot.entries()[0].end
        if end == text.line_end(last):
            self.cut(start, last, new_text)
        else:
            self.cut(start, text.line_end(last), new_text + text[first_entry_end:end].rstrip())

    def write_behind_key(self, slot: Slot, new_text: str) -> None:
        """Write a value behind its key or dash, and behind its anchor or tag."""
        node = slot.node
        place = self.text.properties_end(node) if node.properties else slot.value_offset
        self.cut(place, place, f" {new_text}")


class _Container:
    """A list or map of which entries stay, go and come; their indexes are those in the text.

    `kept` has the new value of each entry that stays; `added` new ones by the index of the entry
    that they follow, -1 for the start: items, or pairs of key and value.
    """

    def __init__(self, merger: Merger, slot: Slot) -> None:
        self.merger = merger
        self.text = merger.text
        self.slot = slot
        self.entries = slot.entries()
        self.kept: dict[int, Any] = {}
        self.added: dict[int, list[Any]] = {}
        # In which all keys, or else all texts, are written; "" where they differ or have none.
        texts = [item.node for item in self.entries if isinstance(item.value, str)]
        styles = {node.style for node in slot.node.keys or texts if node.is_scalar}
        self.quote = styles.pop() if styles in ({"'"}, {'"'}) else ""

    def compare(self, value: Any, in_list: bool, after_key: str) -> None:
        """Find out what stays and what is new where the list or map becomes `value`."""
        if isinstance(value, Mapping):
            for index, entry in enumerate(self.entries):
                # In a list a plan takes null for absent, so an explicit null may stay as it is.
                if entry.key in value or (in_list and entry.value is None):
                    self.kept[index] = value.get(entry.key)
            named = [index for index in self.kept if self.entries[index].key == after_key]
            place = named[0] if named else max(self.kept, default=-1)
            for key, child in value.items():
                if key not in self.slot.value and not (in_list and child is None):
                    self.added.setdefault(place, []).append((key, child))
            return
        old_by_new = {n: index for index, n in pair_items(self.slot.value, value)}
        place = -1
        for n, item in enumerate(value):
            if n in old_by_new:
                place = old_by_new[n]
                self.kept[place] = item
            else:
                self.added.setdefault(place, []).append(item)

    def start_with_comments(self, index: int) -> int:
        """Where an entry's lines begin, with the comment lines above any but the first."""
        text, start = self.text, self.text.line_start(self.entries[index].start)
        column = text.column(self.entries[index].start)
        floor = self.entries[index - 1].end if index else len(text)
        while (above := text.line_start(text.previous_line_end(start))) > floor:
            if text.comment_column(above) != column:
                break
            start = above
        return start


class _Brackets(_Container):
    """A list or map in brackets."""

    def write(self) -> None:
        first_kept = min(self.kept, default=-1)
        early_texts = self._new_texts(-1)
        if not self.kept:
            self._replace_all(early_texts)
            return
        if early_texts:
            start = self.entries[first_kept].start
            separator = self._separator(first_kept)
            self.merger.cut(start, start, "".join(new + separator for new in early_texts))
        for index in sorted(self.kept.keys() & self.added.keys()):
            self._add_after(index, self._new_texts(index))
        self._remove_others(self.kept, last_has_additions=max(self.kept) in self.added)

    def _new_texts(self, index: int) -> list[str]:
        """The texts of what is new behind an entry, quoted as the entries are."""
        new_values = self.added.get(index, [])
        if not self.slot.node.is_map:
            return [format_flow_value(value, self.quote) for value in new_values]
        quote = self.quote if self.quote == '"' else ""
        return [
            f"{format_inline_scalar(key, self.quote, flow=True)}: {format_flow_value(value, quote)}"
            for key, value in new_values
        ]

    def _replace_all(self, new_texts: list[str]) -> None:
        """Replace all entries by new ones; comments on lines of their own stay."""
        entries, cut = self.entries, self.merger.cut
        start, end = self._start(), self.slot.node.end - 1
        if not entries:
            cut(end, end, ", ".join(new_texts))
        elif not self._has_comment_between(start, end, entries):
            if new_texts:
                start, end = entries[0].start, entries[-1].end
            cut(start, end, self._separator(0).join(new_texts))
        elif new_texts:
            cut(entries[0].start, entries[0].end, ", ".join(new_texts))
            # The first entry's place holds the new text, so only the others are removed.
            self._remove_others([0], last_has_additions=False)
        else:
            cuts = [self._removal(index) for index in range(len(entries))]
            rest = Written(self.text[:end]).cut(cuts)[start:]
            self.merger.cuts += cuts if "#" in rest else [(start, end, "")]

    def _add_after(self, index: int, new_texts: list[str]) -> None:
        """Insert new entries behind one, on lines of their own if that one is."""
        entry, separator, cut = self.entries[index], self._separator(index), self.merger.cut
        if not self._has_own_lines(index):
            cut(entry.end, entry.end, "".join(f", {new_text}" for new_text in new_texts))
            return
        is_last = index == max(self.kept) and self.entries[-1].comma < 0
        if entry.comma < 0:
            cut(entry.end, entry.end, ",")
        end = self.text.line_end(max(entry.end, entry.comma))
        cut(end, end, separator[1:] + separator.join(new_texts) + ("" if is_last else ","))

    def _remove_others(self, kept: Collection[int], *, last_has_additions: bool) -> None:
        """Remove all entries but these, one run of neighbours after another."""
        entries, cut = self.entries, self.merger.cut
        count = len(entries)
        for previous, following in pairwise([-1, *sorted(kept), count]):
            if following == previous + 1:
                continue
            removed = range(previous + 1, following)
            at_end = following == count and entries[-1].comma < 0
            start = entries[previous].comma + 1 if previous >= 0 else self._start()
            end = self.slot.node.end - 1 if following == count else entries[following].start
            own_lines = last_has_additions and at_end and self._has_own_lines(previous)
            if own_lines or self._has_comment_between(
                start, end, entries[previous + 1 : following]
            ):
                # The comma before a removed last entry would be left over.
                if at_end and not own_lines:
                    cut(start - 1, start)
                self.merger.cuts += map(self._removal, removed)
            elif following < count:
                cut(entries[previous + 1].start, end)
            else:
                start -= at_end
                cut(start, max(entries[-1].end, entries[-1].comma + 1))

    def _removal(self, index: int) -> Cut:
        """The cut of one entry: its whole lines with their comments, or the entry alone."""
        text, entry = self.text, self.entries[index]
        if self._has_own_lines(index):
            start = self.start_with_comments(index)
            return text.previous_line_end(start), text.line_end(max(entry.end, entry.comma)), ""
        start, end = entry.start, max(entry.end, entry.comma + 1)
        line_end = text.line_end(end)
        line_rest = text[end:line_end].lstrip(" \t")
        opens_line = not index or self.entries[index - 1].end < text.line_start(start)
        if not line_rest.startswith("#"):
            end = line_end - len(line_rest)
        elif opens_line:
            end = line_end
        if text[end] in LINE_BREAK_CHARS:
            while text[start - 1] in " \t":
                start -= 1
        return start, end, ""

    def _has_own_lines(self, index: int) -> bool:
        """Whether no other entry stands on the lines of this one."""
        text, entry = self.text, self.entries[index]
        end = max(entry.end, entry.comma + 1)
        line_rest = text[end : text.line_end(end)].strip(" \t")
        return (not line_rest or line_rest.startswith("#")) and text.begins_line(entry.start)

    def _separator(self, index: int) -> str:
        """What stands between this entry and the next: a comma and a space, or a line break."""
        if not self._has_own_lines(index):
            return ", "
        return f",{self.merger.line_break}{' ' * self.text.column(self.entries[index].start)}"

    def _start(self) -> int:
        """The place behind the opening bracket."""
        node = self.slot.node
        return self.text.index("{" if node.is_map else "[", node.start) + 1

    def _has_comment_between(self, start: int, end: int, entries: Sequence[Slot]) -> bool:
        """Whether a comment stands between two places, outside of the entries there."""
        gaps = [start, *(place for entry in entries for place in (entry.start, entry.end)), end]
        # Between entries stand only blanks, commas and comments, so any `#` begins a comment.
        return any("#" in self.text[a:b] for a, b in zip(gaps[::2], gaps[1::2], strict=True))


class _Lines(_Container):
    """A block list or map, in which each entry has its own lines."""

    def __init__(self, merger: Merger, slot: Slot) -> None:
        super().__init__(merger, slot)
        self._width = self.text.column(self.entries[0].start)

    def write(self) -> None:
        entries, cut, line_break = self.entries, self.merger.cut, self.merger.line_break
        if not self.kept and not self.added:
            self._empty()
            return
        first_kept = min(self.kept, default=len(entries))
        # New entries before the first kept one take the place of the removed entries there.
        early_lines = self._new_lines(self.added.pop(-1, []))
        if early_lines and first_kept == 0:
            start = entries[0].start
            # The first entry's indentation is on the line already: the new lines bring their own.
            lines = [*early_lines, " " * self._width]
            cut(start, start, line_break.join(lines)[self._width :])
        elif early_lines:
            self._write_entry(0, early_lines)
            for index in range(1, first_kept):
                self._write_entry(index)
        elif first_kept:
            self._remove_first(first_kept)
        for index in range(first_kept, len(entries)):
            if index not in self.kept:
                self._write_entry(index)
            elif index in self.added:
                end = self._end_with_comments(index)
                new_lines = self._new_lines(self.added[index])
                cut(end, end, "".join(line_break + line for line in new_lines))

    def _write_entry(self, index: int, new_lines: Sequence[str] = ()) -> None:
        """Replace an entry by new lines, or remove it."""
        text, entry = self.text, self.entries[index]
        new_text = self.merger.line_break.join(new_lines)
        end = self._end_with_comments(index)
        # Comments above a key may be about several keys.
        start = text.line_start(entry.start)
        if not self.slot.node.is_map:
            start = self.start_with_comments(index)
        if new_lines and not text.begins_line(entry.start):
            start, new_text = entry.start, new_text[self._width :]
        elif not new_lines and (end == len(text) or not start):
            end = text.next_line_start(end)
        elif not new_lines:
            start = text.previous_line_end(start)
        self.merger.cut(start, end, new_text)

    def _remove_first(self, first_kept: int) -> None:
        """Remove the entries before the first kept one."""
        text, entries = self.text, self.entries
        start = entries[0].start
        removed = range(first_kept)
        if not text.begins_line(start):
            ends = [self._end_with_comments(index) for index in range(first_kept)]
            starts = [text.line_start(entry.start) for entry in entries[1 : first_kept + 1]]
            # Without comments between the removed entries one cut is enough.
            if not any("#" in text[a:b] for a, b in zip(ends, starts, strict=True)):
                self.merger.cut(start, entries[first_kept].start)
                return
            line_start = text.line_start(start)
            self.merger.cut(line_start + len(text[line_start:start].rstrip(" ")), ends[0])
            removed = range(1, first_kept)
        for index in removed:
            self._write_entry(index)

    def _empty(self) -> None:
        """Replace all entries by empty brackets; comments on lines of their own stay."""
        entry, brackets = self.entries[0], "{}" if self.slot.node.is_map else "[]"
        # The first entry may stand on the line of the dash of the list item that it is in.
        is_inline = not self.text.begins_line(entry.start) or self.slot.column < 0
        if is_inline:
            self.merger.cut(entry.start, entry.end, brackets)
        else:
            self.merger.write_behind_key(self.slot, brackets)
        for index in range(int(is_inline), len(self.entries)):
            self._write_entry(index)

    def _end_with_comments(self, index: int) -> int:
        """Where an entry's last line ends; comments indented deeper than a dash belong to it."""
        text = self.text
        end = text.line_end(self.entries[index].end)
        while not self.slot.node.is_map and end < len(text):
            next_start = text.next_line_start(end)
            if text.comment_column(next_start) <= self._width:
                break
            end = text.line_end(next_start)
        return end

    @cached_property
    def _step(self) -> int:
        """The columns between a dash and its map or list, on lines; 0 where no item is one."""
        starts = [entry.node.start for entry in self.entries if entry.has_lines]
        columns = (self.text.column(n) for n in starts if not self.text.begins_line(n))
        return next(columns, self._width + 2 * bool(starts)) - self._width

    def _new_lines(self, items_or_pairs: list[Any]) -> list[str]:
        """The lines of new entries in the style of those there: items, or (key, value) of a map."""
        indent, literals = " " * self._width, self.merger.literals
        if self.slot.node.is_map:
            pairs = dict(items_or_pairs)
            return format_block_lines(pairs, indent, literals=literals, key_quote=self.quote)
        step = self._step
        lines: list[str] = []
        for value in items_or_pairs:
            if step and isinstance(value, Mapping) and value:
                first, *others = format_block_lines(value, indent + " " * step, literals=literals)
                head = f"{indent}-".ljust(self._width + step)
                lines += [head + first[len(head) :], *others]
            else:
                quote = "" if is_collection(value) else self.quote
                lines.append(f"{indent}- {format_flow_value(value, quote, flow=False)}")
        return lines


# Limit of pairs that are compared, as it is quadratic; longer stretches pair by their order.
_MAX_COMPARED = 2500
# Above 0, so that two items without anything in common still pair where no better pair exists.
_BASE_SCORE = 0.01
IndexPairs = list[tuple[int, int]]


def format_normalized_json(value: Any, *, in_list: bool = False) -> str:
    """JSON text that is equal for values that a plan treats as the same.

    The order of keys does not count, 1 is 1.0, and inside of lists, which a plan compares as
    one value each, null is absent.
    """
    return json.dumps(_to_comparable(value, in_list=in_list), sort_keys=True)


def _to_comparable(value: Any, *, in_list: bool) -> Any:
    if isinstance(value, Mapping):
        pairs = ((key, _to_comparable(child, in_list=in_list)) for key, child in value.items())
        return {key: child for key, child in pairs if child is not None or not in_list}
    if isinstance(value, list | tuple):
        return [_to_comparable(child, in_list=True) for child in value]
    # JSON does not distinguish 1 and 1.0.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def pair_items(old_items: Sequence[Any], new_items: Sequence[Any]) -> IndexPairs:
    """Index pairs of items that belong together, rising in both lists.

    An old item without a pair was removed, a new one without was added. Equal items pair first,
    those between them by their likeness.
    """
    old_texts, new_texts = (
        [format_normalized_json(item, in_list=True) for item in items]
        for items in (old_items, new_items)
    )
    pairs: IndexPairs = []
    a = b = 0
    for i, j in [*_equal_pairs(old_texts, new_texts), (len(old_items), len(new_items))]:
        between = _similar_pairs(old_items[a:i], new_items[b:j])
        pairs += [(a + n, b + m) for n, m in between]
        pairs.append((i, j))
        a, b = i + 1, j + 1
    return pairs[:-1]


def _equal_pairs(old_texts: Sequence[str], new_texts: Sequence[str]) -> IndexPairs:
    """Index pairs of equal items, rising in both lists, in O(n log n).

    Those at both ends; between these those that kept their index or, if it gives more, the longest
    rising sequence of those that are the n-th of their text on both sides.
    """
    shorter = min(len(old_texts), len(new_texts))
    # Usually one item changes.
    head = next((n for n in range(shorter) if old_texts[n] != new_texts[n]), shorter)
    rest = range(shorter - head)
    tail = next((n for n in rest if old_texts[-1 - n] != new_texts[-1 - n]), len(rest))
    old_middle = range(head, len(old_texts) - tail)
    new_middle = range(head, len(new_texts) - tail)
    stayed = [(n, n) for n in old_middle if n in new_middle and old_texts[n] == new_texts[n]]
    old_indexes = dict(_numbered(old_texts, old_middle))
    numbered = _numbered(new_texts, new_middle)
    middle = _longest_rising(
        [(old_indexes[item], n) for item, n in numbered if item in old_indexes]
    )
    if len(old_middle) == len(new_middle) and len(stayed) >= len(middle):
        middle = stayed
    ends = [(len(old_texts) - n, len(new_texts) - n) for n in range(tail, 0, -1)]
    return [*((n, n) for n in range(head)), *middle, *ends]


def _numbered(texts: Sequence[str], indexes: range) -> Iterator[tuple[tuple[str, int], int]]:
    """Each text with how often it has come by then, and its index."""
    counts: Counter[str] = Counter()
    for index in indexes:
        counts[texts[index]] += 1
        yield (texts[index], counts[texts[index]]), index


def _longest_rising(pairs: IndexPairs) -> IndexPairs:
    """The longest subsequence of pairs, sorted by the second index, that rises in the first, too.

    Patience sorting, O(n log n).
    """
    ends: list[int] = []
    end_indexes: list[int] = []
    predecessors: list[int] = []
    for n, (first_index, _) in enumerate(pairs):
        length = bisect_left(ends, first_index)
        predecessors.append(end_indexes[length - 1] if length else -1)
        ends[length : length + 1] = [first_index]
        end_indexes[length : length + 1] = [n]
    rising: IndexPairs = []
    n = end_indexes[-1] if end_indexes else -1
    while n >= 0:
        rising.append(pairs[n])
        n = predecessors[n]
    return rising[::-1]


def _similar_pairs(old_items: Sequence[Any], new_items: Sequence[Any]) -> IndexPairs:
    """Index pairs, rising in both lists, with the highest total likeness.

    Items without likeness pair where nothing better does. A table of best scores is filled from
    the ends, as for an edit distance; above `_MAX_COMPARED` items pair by their order.
    """
    rows, columns = len(old_items), len(new_items)
    # One item in the place of one item is the same item with another value.
    if rows * columns > _MAX_COMPARED or rows == columns == 1:
        return [(n, n) for n in range(min(rows, columns))]
    old_parts, new_parts = ([_parts(item) for item in items] for items in (old_items, new_items))
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    paired = [[0.0] * columns for _ in range(rows)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            score = _BASE_SCORE + _likeness(old_parts[i], new_parts[j])
            paired[i][j] = score + best[i + 1][j + 1]
            best[i][j] = max(paired[i][j], best[i + 1][j], best[i][j + 1])
    pairs: IndexPairs = []
    i = j = 0
    while i < rows and j < columns:
        if paired[i][j] >= best[i][j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _parts(item: Any) -> Any:
    """What is compared of an item: a text itself, the pairs of a map, the items of a list."""
    if isinstance(item, str):
        return item
    children = item if is_collection(item) else ()
    pairs = item.items() if isinstance(item, Mapping) else (("", child) for child in children)
    return {(str(key), format_normalized_json(child, in_list=True)) for key, child in pairs}


def _likeness(old: Any, new: Any) -> float:
    """From 0 to 1: of texts by prefix and suffix, of maps and lists by what both have."""
    longest = max(len(old), len(new), 1)
    if isinstance(old, str) and isinstance(new, str):
        ends = (zip(old, new, strict=False), zip(old[::-1], new[::-1], strict=False))
        same = sum(len([*takewhile(lambda pair: pair[0] == pair[1], pairs)]) for pairs in ends)
        return min(same, longest) / longest
    if isinstance(old, str) or isinstance(new, str):
        return 0.0
    # The items of a list have no key.
    keys = {key for key, _ in old} & {key for key, _ in new} - {""}
    return (len(old & new) + 0.1 * len(keys)) / longest


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
