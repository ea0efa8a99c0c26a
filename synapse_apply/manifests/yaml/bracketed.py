"""How entries are added to and removed from a flow list or map, with commas and comments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from synapse_apply.manifests.yaml.reshaping import find_common_quote, format_flow_value
from synapse_apply.manifests.yaml.slots import (
    Cut,
    SlotEntry,
    ValueSlot,
    apply_cuts,
    is_comment_indented,
    is_first_in_line,
    locate_line_start,
    locate_previous_line_end,
)
from synapse_apply.manifests.yaml.spans import (
    LINE_BREAK_CHARS,
    count_before_in_line,
    locate_line_end,
)
from synapse_apply.manifests.yaml.write_scalars import format_inline_scalar


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
