"""How a list or map in a YAML text becomes another one, without touching what stays the same."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from synapse_apply.manifests.yaml.spans import (
    LINE_BREAK,
    LINE_BREAK_CHARS,
    Cut,
    SlotEntry,
    SourceNode,
    ValueSlot,
    apply_cuts,
    count_before_in_line,
    header_comment,
    is_comment_indented,
    is_first_in_line,
    list_entries,
    locate_content_start,
    locate_line_end,
    locate_line_start,
    locate_next_line_start,
    locate_previous_line_end,
    locate_properties_end,
    locate_value_end,
)
from synapse_apply.manifests.yaml.writing import format_block_scalar, format_inline_scalar
from synapse_apply.model.frozen import mutable


def is_collection(value: Any) -> bool:
    """Whether a JSON value is a list or a map."""
    return isinstance(value, Mapping | list | tuple)


def format_flow_value(value: Any, quote: str = "") -> str:
    """A JSON value on one line, lists and maps in brackets; `quote` is used for keys and texts."""
    if isinstance(value, Mapping):
        pairs = (
            f"{format_inline_scalar(str(k), quote, flow=True)}: {format_flow_value(v, quote)}"
            for k, v in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(format_flow_value(item, quote) for item in value) + "]"
    return format_inline_scalar(value, quote, flow=True)


def format_block_lines(
    value: Any, indent: str, *, allow_literals: bool = False, key_quote: str = ""
) -> list[str]:
    """The indented lines of a list or map that is not empty; each list item is on one line.

    With `allow_literals`, texts of several lines are block scalars; `key_quote` is the quote
    of keys.
    """
    if not isinstance(value, Mapping):
        return [f"{indent}- {_format_inline_value(item)}" for item in value]
    lines: list[str] = []
    for key, child in value.items():
        line_head = f"{indent}{format_inline_scalar(str(key), key_quote)}:"
        # Not every text can be a block scalar, such as one with control characters.
        literal = format_block_scalar(child, indent + "  ", "\n") if allow_literals else None
        if is_collection(child) and child:
            lines += [
                line_head,
                *format_block_lines(child, indent + "  ", allow_literals=allow_literals),
            ]
        elif literal and "\n" in child:
            lines += "".join((line_head, " ", *literal)).split("\n")
        else:
            lines.append(f"{line_head} {_format_inline_value(child)}")
    return lines


def _format_inline_value(value: Any) -> str:
    return format_flow_value(value) if is_collection(value) else format_inline_scalar(value)


def build_scalar_cut(
    text: str, slot: ValueSlot, value: Any, line_break: str, *, allow_literals: bool
) -> Cut:
    """The cut that replaces a scalar, in the style of the old one where that can hold the new one.

    With `allow_literals`, a text of several lines becomes a block scalar where one is possible.
    """
    node = slot.node
    end = locate_value_end(text, node)
    comment = header_comment(text, node)
    becomes_multiline = isinstance(value, str) and "\n" in value and "\n" not in (node.value or "")
    is_block_scalar = node.style in {"|", ">"}
    # A block scalar needs the rest of its line, so nothing may stand behind the old value.
    can_be_literal = is_block_scalar or (
        becomes_multiline and not slot.flow and not text[end : locate_line_end(text, end)].strip()
    )
    if allow_literals and not slot.flow and can_be_literal:
        literal = format_block_scalar(value, _block_scalar_indent(text, slot), line_break)
        if literal:
            prefix = _missing_separator(text, slot)
            return node.start, end, prefix + literal[0] + comment + literal[1]
    # The value is on one line now, where a block style is not possible.
    style = "" if is_block_scalar else node.style
    scalar_text = format_inline_scalar(value, style, flow=slot.flow)
    return (node.start, end, _missing_separator(text, slot) + scalar_text + comment)


def _missing_separator(text: str, slot: ValueSlot) -> str:
    """The colon or blank that is missing before a value where there was none; mostly ""."""
    if not slot.has_indicator:
        return ": "
    start = slot.node.start
    # An empty value: the new one must not join the colon or the dash.
    return " " if start == slot.node.end and text[start - 1 : start] in {":", "-"} else ""


def _block_scalar_indent(text: str, slot: ValueSlot) -> str:
    """The indentation of a block scalar's lines, else two columns more than its key's."""
    node = slot.node
    for line in LINE_BREAK.split(text[node.start : node.end])[1:]:
        if line.strip() and node.style in {"|", ">"}:
            return line[: len(line) - len(line.lstrip(" "))]
    return " " * (slot.base_column + 2)


def list_replacing_cuts(
    text: str,
    slot: ValueSlot,
    value: Any,
    line_break: str,
    *,
    allow_block: bool,
    allow_literals: bool = True,
) -> tuple[Cut, ...]:
    """The cuts, all to be applied at once, that replace a value of which nothing stays.

    With `allow_block`, a list or map may be written on lines of its own where the old one is;
    `allow_literals` counts for scalars alone.
    """
    node = slot.node
    if slot.is_block_collection:
        allow_block = allow_block and is_collection(value) and bool(value)
        return tuple(_iter_block_cuts(text, slot, value, line_break if allow_block else ""))
    if is_collection(value) or is_collection(slot.value):
        value_text = (
            format_flow_value(value)
            if slot.flow or is_collection(value)
            else format_inline_scalar(value)
        )
        cut = (
            node.start,
            locate_value_end(text, node),
            _missing_separator(text, slot) + value_text + header_comment(text, node),
        )
        return (cut,)
    return (build_scalar_cut(text, slot, value, line_break, allow_literals=allow_literals),)


def _iter_block_cuts(text: str, slot: ValueSlot, value: Any, line_break: str) -> Iterator[Cut]:
    """Cuts that replace the lines of a block list or map, by lines or by a value on one line."""
    start, last = locate_content_start(text, slot.node), locate_value_end(text, slot.node)
    is_on_own_line = is_first_in_line(text, start)
    if line_break:
        width = count_before_in_line(text, start)
        width = (
            max(width, slot.base_column + 2)
            if is_on_own_line and isinstance(value, Mapping)
            else width
        )
        block_text = line_break.join(
            format_block_lines(value, " " * width, allow_literals=line_break == "\n")
        )
        if is_on_own_line:
            yield locate_line_start(text, start), locate_line_end(text, last), block_text
        else:
            end = locate_line_end(text, last)
            yield (
                start,
                last if locate_line_end(text, start) == end else end,
                block_text.lstrip(" "),
            )
        return
    value_text = _format_inline_value(value)
    # The value moves up to the line of its key, and the old lines go.
    if is_on_own_line and slot.base_column >= 0:
        value_offset = locate_value_slot(text, slot)
        yield value_offset, value_offset, f" {value_text}"
        yield (
            locate_previous_line_end(text, locate_line_start(text, start)),
            locate_line_end(text, last),
            "",
        )
        return
    # A comment on the line of a dash belongs to that item, and stays behind the new value.
    end, first_entry_end = locate_line_end(text, start), list_entries(text, slot)[0].end
    if end == locate_line_end(text, last):
        yield start, last, value_text
    else:
        trailing_comment = text[first_entry_end:end].rstrip() if first_entry_end <= end else ""
        yield start, locate_line_end(text, last), value_text + trailing_comment


def locate_value_slot(text: str, slot: ValueSlot) -> int:
    """Where a value can be written behind its key or dash, and behind its anchor or tag."""
    return locate_properties_end(text, slot.node) if slot.node.properties else slot.value_offset


def find_common_quote(nodes: list[SourceNode]) -> str:
    """The quote in which all of these scalars are written; "" where they differ or have none."""
    styles = {node.style for node in nodes if node.is_scalar}
    (style,) = styles if len(styles) == 1 else ("",)
    return style if style in {"'", '"'} else ""


def iter_bracket_cuts(
    text: str,
    slot: ValueSlot,
    entries: Sequence[SlotEntry],
    kept_indexes: set[int],
    added_after: dict[int, list[Any]],
    line_break: str,
) -> Iterator[Cut]:
    """Cuts that remove all entries but `kept_indexes`, and insert new ones.

    `added_after` has the new values by the index of the entry before them, -1 for the start.
    """
    container = _BracketedContainer(text, slot, entries, kept_indexes, line_break)
    first_kept = min(kept_indexes, default=len(entries))
    new_texts = [
        container.format_entry(value)
        for index in sorted(added_after)
        if index < first_kept
        for value in added_after[index]
    ]
    if not kept_indexes:
        yield from container.iter_replacing_cuts(new_texts)
        return
    if new_texts:
        yield from container.iter_cuts_before(first_kept, new_texts)
    for index in sorted(kept_indexes & added_after.keys()):
        yield from container.iter_cuts_after(
            index, [container.format_entry(value) for value in added_after[index]]
        )
    yield from container.iter_removal_cuts(last_has_additions=max(kept_indexes) in added_after)


class _BracketedContainer:
    def __init__(
        self,
        text: str,
        slot: ValueSlot,
        entries: Sequence[SlotEntry],
        kept_indexes: set[int],
        line_break: str,
    ) -> None:
        self._text = text
        self._node = slot.node
        self._entries = entries
        self._kept_indexes = kept_indexes
        self._line_break = line_break
        names = [name for name, _ in self._node.pairs]
        texts = [entry.slot.node for entry in entries if isinstance(entry.slot.value, str)]
        self._quote = find_common_quote(names or texts)

    def format_entry(self, value: Any) -> str:
        """The text of a list item, or of a pair of key and value, quoted as the entries are."""
        if not self._node.is_map:
            return format_flow_value(value, self._quote)
        key, pair_value = value
        quote = self._quote if self._quote == '"' else ""
        return (
            f"{format_inline_scalar(key, self._quote, flow=True)}: "
            f"{format_flow_value(pair_value, quote)}"
        )

    def iter_replacing_cuts(self, new_texts: list[str]) -> Iterator[Cut]:
        """Cuts that replace all entries by new ones; comments on lines of their own stay."""
        entries = self._entries
        start, end = self._offset_behind_bracket(), self._node.end - 1
        if not entries:
            yield end, end, ", ".join(new_texts)
        elif not self._has_comment_between(start, end, entries):
            replaced_range = (entries[0].start, entries[-1].end) if new_texts else (start, end)
            yield *replaced_range, self._separator_like(0).join(new_texts)
        elif new_texts:
            yield entries[0].start, entries[0].end, ", ".join(new_texts)
            # The first entry's place holds the new text, so only the others are removed.
            self._kept_indexes = {0}
            yield from self.iter_removal_cuts(last_has_additions=False)
        else:
            cuts = [self._build_removal_cut(index) for index in range(len(entries))]
            remaining_text = apply_cuts(self._text[:end], cuts)[start:]
            yield from cuts if "#" in remaining_text else [(start, end, "")]

    def iter_cuts_before(self, index: int, new_texts: list[str]) -> Iterator[Cut]:
        """Cuts that insert new entries before the one at an index."""
        start = self._entries[index].start
        yield (
            start,
            start,
            "".join(new_text + self._separator_like(index) for new_text in new_texts),
        )

    def iter_cuts_after(self, index: int, new_texts: list[str]) -> Iterator[Cut]:
        """Cuts that insert new entries behind one, on lines of their own if that one is."""
        text, entry = self._text, self._entries[index]
        if not self._has_own_lines(index):
            yield entry.end, entry.end, "".join(f", {new_text}" for new_text in new_texts)
            return
        is_last = index == max(self._kept_indexes) and self._entries[-1].comma_offset < 0
        if entry.comma_offset < 0:
            yield entry.end, entry.end, ","
        end = locate_line_end(text, max(entry.end, entry.comma_offset))
        lines = self._separator_like(index).join(new_texts) + ("" if is_last else ",")
        yield end, end, self._separator_like(index)[1:] + lines

    def iter_removal_cuts(self, *, last_has_additions: bool) -> Iterator[Cut]:
        """Cuts that remove the entries that are not kept, one run of neighbours after another."""
        entries, kept_indexes = self._entries, self._kept_indexes
        kept_in_order = sorted(kept_indexes)
        for previous, following in zip(
            [-1, *kept_in_order], [*kept_in_order, len(entries)], strict=True
        ):
            if following == previous + 1:
                continue
            first_removed = entries[previous + 1]
            at_end = following == len(entries) and entries[-1].comma_offset < 0
            start = (
                entries[previous].comma_offset + 1
                if previous >= 0
                else self._offset_behind_bracket()
            )
            end = self._node.end - 1 if following == len(entries) else entries[following].start
            own_lines = last_has_additions and at_end and self._has_own_lines(previous)
            if (
                not self._has_comment_between(start, end, entries[previous + 1 : following])
                and not own_lines
            ):
                if following < len(entries):
                    yield first_removed.start, end, ""
                else:
                    yield (
                        entries[previous].comma_offset + (0 if at_end else 1),
                        max(entries[-1].end, entries[-1].comma_offset + 1),
                        "",
                    )
                continue
            # The comma before a removed last entry would be left over.
            if at_end and not own_lines:
                yield start - 1, start, ""
            yield from (self._build_removal_cut(index) for index in range(previous + 1, following))

    def _build_removal_cut(self, index: int) -> Cut:
        """The cut that removes one entry.

        Its whole lines with their comments, or the entry alone.
        """
        text, entry = self._text, self._entries[index]
        if self._has_own_lines(index):
            start = locate_line_start(text, entry.start)
            floor = self._entries[index - 1].end if index else len(text)
            while (
                previous_start := locate_line_start(text, locate_previous_line_end(text, start))
            ) > floor:
                if not is_comment_indented(
                    text, previous_start, count_before_in_line(text, entry.start)
                ):
                    break
                start = previous_start
            end = locate_line_end(text, max(entry.end, entry.comma_offset))
            return locate_previous_line_end(text, start), end, ""
        start, end = entry.start, max(entry.end, entry.comma_offset + 1)
        line_rest = text[end : locate_line_end(text, end)].lstrip(" \t")
        opens_line = not index or self._entries[index - 1].end < locate_line_start(text, start)
        if line_rest.startswith("#") and opens_line:
            end = locate_line_end(text, end)
        elif not line_rest.startswith("#"):
            end += len(text[end : locate_line_end(text, end)]) - len(line_rest)
        if text[end] in LINE_BREAK_CHARS:
            while text[start - 1] in " \t":
                start -= 1
        return start, end, ""

    def _has_own_lines(self, index: int) -> bool:
        """Whether no other entry stands on the lines of this one."""
        text, entry = self._text, self._entries[index]
        end = max(entry.end, entry.comma_offset + 1)
        line_rest = text[end : locate_line_end(text, end)].strip(" \t")
        return (not line_rest or line_rest.startswith("#")) and is_first_in_line(text, entry.start)

    def _separator_like(self, index: int) -> str:
        """The text between this entry and the next.

        A comma and a space, or a comma and a line break.
        """
        start = self._entries[index].start
        if not self._has_own_lines(index):
            return ", "
        return f",{self._line_break}{' ' * count_before_in_line(self._text, start)}"

    def _offset_behind_bracket(self) -> int:
        """The offset behind the opening bracket."""
        return self._text.index("{" if self._node.is_map else "[", self._node.start) + 1

    def _has_comment_between(self, start: int, end: int, entries: Sequence[SlotEntry]) -> bool:
        """Whether a comment stands between two offsets, outside of the entries there."""
        text = self._text
        gaps = [start, *(offset for entry in entries for offset in (entry.start, entry.end)), end]
        # Between entries stand only blanks, commas and comments, so any `#` begins a comment.
        return any("#" in text[a:b] for a, b in zip(gaps[::2], gaps[1::2], strict=True))


IndexPairs = list[tuple[int, int]]

# Limit of pairs that are compared, as it is quadratic; longer stretches pair by their order.
_MAX_COMPARED = 2500
# Above 0, so that two items without anything in common still pair where no better pair exists.
_BASE_SCORE = 0.01


def format_normalized_json(value: Any, *, in_list: bool = False) -> str:
    """JSON text that is equal for values that a plan treats as the same.

    The order of keys does not count, 1 is 1.0, and inside of lists, which a plan compares as
    one value each, null is absent.
    """
    return json.dumps(_to_comparable(value, in_list=in_list), sort_keys=True)


def _to_comparable(value: Any, *, in_list: bool) -> Any:
    """A value with 1 for 1.0 and, inside of lists, without the keys that have null."""
    if isinstance(value, Mapping):
        pairs = ((key, _to_comparable(child, in_list=in_list)) for key, child in value.items())
        return {key: child for key, child in pairs if child is not None or not in_list}
    if isinstance(value, list | tuple):
        return [_to_comparable(child, in_list=True) for child in value]
    # JSON does not distinguish 1 and 1.0.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def pair_list_items(old_items: Sequence[Any], new_items: Sequence[Any]) -> IndexPairs:
    """Index pairs of items that belong together, rising in both lists.

    An old item without a pair was removed, a new one without was added.
    """
    old_texts, new_texts = [
        [format_normalized_json(item, in_list=True) for item in items]
        for items in (old_items, new_items)
    ]
    pairs: IndexPairs = []
    next_start = (0, 0)
    for i, j in [*_pair_equal_ends(old_texts, new_texts), (len(old_items), len(new_items))]:
        a, b = next_start
        for n, m in _align_items(old_items[a:i], new_items[b:j], old_texts[a:i], new_texts[b:j]):
            pairs.append((a + n, b + m))
        pairs.append((i, j))
        next_start = (i + 1, j + 1)
    return pairs[:-1]


def _pair_equal_ends(old_texts: Sequence[str], new_texts: Sequence[str]) -> IndexPairs:
    """Index pairs of equal items: all at both ends, and between those only of long lists."""
    max_length = min(len(old_texts), len(new_texts))
    # Usually one item changes, and the equal ends need no comparison in pairs.
    head = next((n for n in range(max_length) if old_texts[n] != new_texts[n]), max_length)
    tail = next(
        (n for n in range(max_length - head) if old_texts[-1 - n] != new_texts[-1 - n]),
        max_length - head,
    )
    middle_pairs = _pair_long_lists(
        old_texts[head : len(old_texts) - tail], new_texts[head : len(new_texts) - tail]
    )
    ends = [(len(old_texts) - n, len(new_texts) - n) for n in range(tail, 0, -1)]
    return [*((n, n) for n in range(head)), *((head + n, head + m) for n, m in middle_pairs), *ends]


def _pair_long_lists(old_texts: Sequence[str], new_texts: Sequence[str]) -> IndexPairs:
    """Index pairs of equal items of long lists, rising in both, in O(n log n).

    Those that kept their index, or if it gives more, the longest rising sequence of those that are
    the n-th of their value on both sides. Short lists give none: they are compared in full.
    """
    if len(old_texts) * len(new_texts) <= _MAX_COMPARED:
        return []
    index_by_item = {item: n for n, item in enumerate(_iter_numbered_items(old_texts))}
    moved = _longest_rising_pairs(
        [
            (index_by_item[item], n)
            for n, item in enumerate(_iter_numbered_items(new_texts))
            if item in index_by_item
        ]
    )
    aligned_items = zip(old_texts, new_texts, strict=False)
    stayed = [(n, n) for n, (item, other_item) in enumerate(aligned_items) if item == other_item]
    return stayed if len(old_texts) == len(new_texts) and len(stayed) >= len(moved) else moved


def _iter_numbered_items(items: Sequence[str]) -> Iterator[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for item in items:
        counts[item] += 1
        yield item, counts[item]


def _longest_rising_pairs(pairs: IndexPairs) -> IndexPairs:
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


def _align_items(
    old_items: Sequence[Any],
    new_items: Sequence[Any],
    old_texts: Sequence[str],
    new_texts: Sequence[str],
) -> IndexPairs:
    """Index pairs, rising in both lists, with the highest total similarity.

    Items with equal texts weigh most; items without likeness pair where nothing better does.
    A table of best scores, filled from the ends (as for an edit distance); pairs by order above
    `_MAX_COMPARED`.
    """
    # One item in the place of one item is the same item with another value.
    if len(old_items) * len(new_items) > _MAX_COMPARED or len(old_items) == len(new_items) == 1:
        return [(n, n) for n in range(min(len(old_items), len(new_items)))]
    shared_content = _SharedContent(old_items, new_items)
    width = len(new_items) + 1
    best_scores = [[0.0] * width for _ in range(len(old_items) + 1)]
    pair_scores = [[0.0] * width for _ in old_items]
    for i in range(len(old_items) - 1, -1, -1):
        for j in range(len(new_items) - 1, -1, -1):
            # Equal items weigh far more than any similarity, so that they are hardly ever
            # separated.
            similarity = (
                10.0 if old_texts[i] == new_texts[j] else shared_content.score_similarity(i, j)
            )
            pair_scores[i][j] = _BASE_SCORE + similarity + best_scores[i + 1][j + 1]
            best_scores[i][j] = max(pair_scores[i][j], best_scores[i + 1][j], best_scores[i][j + 1])
    matches: IndexPairs = []
    i = j = 0
    while i < len(old_items) and j < len(new_items):
        if pair_scores[i][j] >= best_scores[i][j]:
            matches.append((i, j))
            i, j = i + 1, j + 1
        elif best_scores[i + 1][j] >= best_scores[i][j + 1]:
            i += 1
        else:
            j += 1
    return matches


class _SharedContent:
    """Scores how much an old and a new item have in common.

    Parts that many items have count less.
    """

    def __init__(self, old_items: Sequence[Any], new_items: Sequence[Any]) -> None:
        self._items = old_items, new_items
        self._parts = [
            [set(_list_comparable_parts(item)) for item in side] for side in (old_items, new_items)
        ]
        self._counts = [Counter(part for item in side for part in item) for side in self._parts]

    def score_similarity(self, i: int, j: int) -> float:
        """A similarity from 0: of texts by prefix and suffix, of maps by common pairs and keys."""
        old_item, new_item = self._items[0][i], self._items[1][j]
        if isinstance(old_item, str) and isinstance(new_item, str):
            max_length = max(len(old_item), len(new_item), 1)
            return (
                min(
                    _count_common_prefix(old_item, new_item)
                    + _count_common_prefix(old_item[::-1], new_item[::-1]),
                    max_length,
                )
                / max_length
            )
        if _collection_type(old_item) is not _collection_type(new_item):
            return 0.0
        old_counts, new_counts = self._counts
        keys = (
            len(set(old_item) & set(new_item)) / (len(old_item) + 1)
            if isinstance(old_item, Mapping)
            else 0
        )
        shared_parts = self._parts[0][i] & self._parts[1][j]
        # A part that is in one item on each side, such as a name, shows best that both are the
        # same.
        return 0.1 * keys + sum(1 / (old_counts[part] * new_counts[part]) for part in shared_parts)


def _count_common_prefix(first_text: str, second_text: str) -> int:
    """The length of the common prefix of two texts."""
    pairs = enumerate(zip(first_text, second_text, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first_text), len(second_text)))


def _list_comparable_parts(item: Any) -> list[tuple[str, str]]:
    if isinstance(item, Mapping):
        return [
            (str(key), format_normalized_json(child, in_list=True)) for key, child in item.items()
        ]
    return (
        [("", format_normalized_json(child, in_list=True)) for child in item]
        if _collection_type(item) is list
        else []
    )


def _collection_type(value: Any) -> type:
    if isinstance(value, Mapping):
        return dict
    return list if isinstance(value, list | tuple) else str


# How a list or map in a YAML text becomes another one, without touching what stays the same.
#
# Maps change key by key and lists item by item, at every depth. A removed entry takes the comment
# on its line with it, an item also the comment lines right above it; those above the first item of
# a list stay, since they may be about all of it.


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
