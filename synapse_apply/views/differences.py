"""How one value became another: side by side, or line by line where that reads better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import Any

from synapse_apply.views.cells import cells
from synapse_apply.views.literals import (
    LONGEST,
    clip,
    gutter,
    inline,
    text_lines,
    value_lines,
)
from synapse_apply.views.pen import Pen

_ARROW = " -> "
_CONTEXT = 2
# SequenceMatcher is quadratic at worst; beyond this, values are shown whole, one after the other.
_MOST_COMPARED = 2000


def difference(before: Any, after: Any, room: int, pen: Pen) -> list[str]:
    """Lines of `before -> after`; the first goes after `name = `."""
    if isinstance(before, str) and isinstance(after, str):
        return _texts(before, after, room, pen)
    left, right = inline(before), inline(after)
    if cells(left) + cells(right) + len(_ARROW) <= room:
        return [f"{left}{_ARROW}{right}"]
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return _lists(before, after, pen)
    return _one_after_the_other(value_lines(before, room), value_lines(after, room))


def _texts(before: str, after: str, room: int, pen: Pen) -> list[str]:
    if "\n" in before.strip("\n") or "\n" in after.strip("\n"):
        old, new = text_lines(before), text_lines(after)
        if old != new:
            return _numbered(old, new, "lines", gutter, pen)
    if len(before) > LONGEST or len(after) > LONGEST:
        at = _first_difference(before, after)
        return _one_after_the_other([clip(before, at)], [clip(after, at)])
    left, right = inline(before), inline(after)
    if cells(left) + cells(right) + len(_ARROW) <= room:
        return [f"{left}{_ARROW}{right}"]
    return _one_after_the_other([left], [right])


def _first_difference(before: str, after: str) -> int:
    shorter = min(len(before), len(after))
    return next((at for at in range(shorter) if before[at] != after[at]), shorter)


def _one_after_the_other(left: list[str], right: list[str]) -> list[str]:
    head, *rest = right
    return [*left, f" -> {head}", *(f"    {line}" for line in rest)]


def _lists(before: Sequence[Any], after: Sequence[Any], pen: Pen) -> list[str]:
    old, new = [inline(item) for item in before], [inline(item) for item in after]
    return ["[", *_numbered(old, new, "items", _item, pen)[1:], "]"]


def _item(line: str, mark: str = " ") -> str:
    return f"  {mark} {line},"


def _numbered(
    old: list[str], new: list[str], noun: str, show: Callable[[str, str], str], pen: Pen
) -> list[str]:
    """A head with counts, then the lines: gone, come, and a little of what stays."""
    if len(old) + len(new) > _MOST_COMPARED:
        blocks = [("replace", 0, len(old), 0, len(new))]
    else:
        blocks = list(SequenceMatcher(None, old, new, autojunk=False).get_opcodes())
    body: list[str] = []
    for index, (tag, old_from, old_to, new_from, new_to) in enumerate(blocks):
        if tag == "equal":
            kept = [show(line, " ") for line in old[old_from:old_to]]
            body += _context(kept, noun, first=index == 0, last=index == len(blocks) - 1)
            continue
        body += [pen(show(line, "-"), "-") for line in old[old_from:old_to]]
        body += [pen(show(line, "+"), "+") for line in new[new_from:new_to]]
    count = f"{len(old)} -> {len(new)}" if len(old) != len(new) else str(len(old))
    return [f"({count} {noun})", *body]


def _context(kept: list[str], noun: str, *, first: bool, last: bool) -> list[str]:
    head = [] if first else kept[:_CONTEXT]
    rest = kept[len(head) :]
    tail = [] if last or not rest else rest[-_CONTEXT:]
    hidden = len(rest) - len(tail)
    note = [f"    # ({hidden} unchanged {noun} hidden)"] if hidden > 1 else rest[:hidden]
    return [*head, *note, *tail]
