"""How a change from one value to another is shown: side by side, or as a diff of lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from synapse_apply.views.text.cells import measure_width
from synapse_apply.views.text.style import Style
from synapse_apply.views.text.values import (
    MAX_VALUE_LENGTH,
    format_value_inline,
    format_value_lines,
    prefix_mark_and_gutter,
    quote_around,
    split_into_cut_lines,
)

_ARROW = " -> "
_CONTEXT_LINES = 2
# SequenceMatcher is quadratic at worst; beyond this, both values are shown without a diff.
_MAX_COMPARED_LINES = 2000


def format_line_diff(before: Any, after: Any, room: int, style: Style) -> list[str]:
    """The lines of `before -> after`; the first goes behind `name = `, `room` is in cells."""
    if isinstance(before, str) and isinstance(after, str):
        return _format_text_change(before, after, room, style)
    before_text, after_text = format_value_inline(before), format_value_inline(after)
    if measure_width(before_text) + measure_width(after_text) + len(_ARROW) <= room:
        return [f"{before_text}{_ARROW}{after_text}"]
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        old, new = (
            [format_value_inline(item) for item in before],
            [format_value_inline(item) for item in after],
        )
        return ["[", *_line_diff(old, new, "items", _format_list_item, style)[1:], "]"]
    return _pair_lines(format_value_lines(before, room), format_value_lines(after, room))


def _format_text_change(before: str, after: str, room: int, style: Style) -> list[str]:
    if "\n" in before.strip("\n") or "\n" in after.strip("\n"):
        old, new = split_into_cut_lines(before), split_into_cut_lines(after)
        # Texts that differ only in their last line break are shown inline.
        if old != new:
            return _line_diff(old, new, "lines", prefix_mark_and_gutter, style)
    if len(before) > MAX_VALUE_LENGTH or len(after) > MAX_VALUE_LENGTH:
        position = _first_difference(before, after)
        return _pair_lines([quote_around(before, position)], [quote_around(after, position)])
    before_text, after_text = format_value_inline(before), format_value_inline(after)
    if measure_width(before_text) + measure_width(after_text) + len(_ARROW) <= room:
        return [f"{before_text}{_ARROW}{after_text}"]
    return _pair_lines([before_text], [after_text])


def _first_difference(before: str, after: str) -> int:
    shorter = min(len(before), len(after))
    return next(
        (position for position in range(shorter) if before[position] != after[position]), shorter
    )


def _pair_lines(before_lines: list[str], after_lines: list[str]) -> list[str]:
    first_line, *continuation = after_lines
    return [*before_lines, f" -> {first_line}", *(f"    {line}" for line in continuation)]


def _format_list_item(line: str, mark: str = " ") -> str:
    return f"  {mark} {line},"


def _line_diff(
    old: list[str],
    new: list[str],
    noun: str,
    format_diff_line: Callable[[str, str], str],
    style: Style,
) -> list[str]:
    """A head with counts, then removed and added lines with a little context."""
    if len(old) + len(new) > _MAX_COMPARED_LINES:
        blocks = [("replace", 0, len(old), 0, len(new))]
    else:
        from difflib import SequenceMatcher  # noqa: PLC0415 - only values of several lines pay

        # Without autojunk, which would treat frequent lines as noise and give odd diffs.
        blocks = list(SequenceMatcher(None, old, new, autojunk=False).get_opcodes())
    body: list[str] = []
    for index, (tag, old_from, old_to, new_from, new_to) in enumerate(blocks):
        if tag == "equal":
            equal_lines = [format_diff_line(line, " ") for line in old[old_from:old_to]]
            body += _context_lines(
                equal_lines, noun, is_first=index == 0, is_last=index == len(blocks) - 1
            )
            continue
        body += [style(format_diff_line(line, "-"), "-") for line in old[old_from:old_to]]
        body += [style(format_diff_line(line, "+"), "+") for line in new[new_from:new_to]]
    count = f"{len(old)} -> {len(new)}" if len(old) != len(new) else str(len(old))
    return [f"({count} {noun})", *body]


def _context_lines(
    equal_lines: list[str], noun: str, *, is_first: bool, is_last: bool
) -> list[str]:
    head = [] if is_first else equal_lines[:_CONTEXT_LINES]
    remaining_lines = equal_lines[len(head) :]
    tail = [] if is_last or not remaining_lines else remaining_lines[-_CONTEXT_LINES:]
    hidden_count = len(remaining_lines) - len(tail)
    note = (
        [f"    # ({hidden_count} unchanged {noun} hidden)"]
        # The note takes one line itself, so a single hidden line is shown instead.
        if hidden_count > 1
        else remaining_lines[:hidden_count]
    )
    return [*head, *note, *tail]
