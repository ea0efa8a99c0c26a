"""A value of a YAML text made another one from within: what stays the same is not touched.

Maps change key by key and lists item by item, and so does all below them. What goes takes the
comment on its line along, an item also the comment lines right above it; those above the first
item of a list stay, since they may be about all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from synapse_apply.manifests.bracketed import changed_brackets
from synapse_apply.manifests.likeness import paired, told
from synapse_apply.manifests.reshaping import (
    as_lines,
    in_brackets,
    instead,
    is_collection,
    quotes,
    start_behind,
)
from synapse_apply.manifests.scalar_texts import on_one_line
from synapse_apply.manifests.slots import (
    Cut,
    Entry,
    Slot,
    alone,
    entries,
    line_before,
    line_start,
    next_line,
    remark_at,
)
from synapse_apply.manifests.spans import column, line_end


@dataclass(slots=True)
class Changes:
    """What becomes of the keys or items of a list or a map.

    `stay` pairs those that are there with what they shall be, `added` has new ones by the number
    of the entry that they come behind, -1 for the start: items, or pairs of key and value.
    """

    parts: list[Entry]
    stay: dict[int, Any] = field(default_factory=dict)
    added: dict[int, list[Any]] = field(default_factory=dict)

    @property
    def gone(self) -> list[int]:
        return [at for at in range(len(self.parts)) if at not in self.stay]

    def add(self, behind: int, value: Any) -> None:
        self.added.setdefault(behind, []).append(value)


def changes(text: str, slot: Slot, value: Any, *, in_list: bool) -> Changes:
    """How a list or a map becomes another one of its kind; inside of a list null is absent."""
    made = Changes(entries(text, slot))
    parts = made.parts
    if isinstance(value, Mapping):
        for at, one in enumerate(parts):
            if one.key in value or (in_list and one.slot.value is None):
                made.stay[at] = value.get(one.key)
        for pair in value.items():
            if pair[0] not in slot.value and not (in_list and pair[1] is None):
                made.add(max(made.stay, default=-1), pair)
        return made
    pairs = paired(slot.value, value)
    made.stay = {at: value[n] for at, n in pairs}
    by_place = {n: at for at, n in pairs}
    behind = -1
    for n, one in enumerate(value):
        if n in by_place:
            behind = by_place[n]
        else:
            made.add(behind, one)
    return made


def merged(
    text: str, slot: Slot, value: Any, line_break: str, *, literals: bool, in_list: bool = False
) -> Iterator[Cut]:
    """Cuts that make a value another one; `literals` as `scalar_instead` has them."""
    node = slot.node
    if told(slot.value, in_list=in_list) == told(value, in_list=in_list) and (
        is_collection(value) or type(slot.value) is type(value) or in_list
    ):
        return
    if not _of_one_kind(text, slot, value):
        yield from instead(text, slot, value, line_break, lines=True, literals=literals)
        return
    made = changes(text, slot, value, in_list=in_list)
    inside = in_list or not node.is_map
    for at, now in made.stay.items():
        below = made.parts[at].slot
        yield from merged(text, below, now, line_break, literals=literals, in_list=inside)
    if not made.gone and not made.added:
        return
    if node.flow:
        yield from changed_brackets(text, slot, made.parts, set(made.stay), made.added, line_break)
    else:
        yield from _Lines(text, slot, made, line_break, literals=literals).cuts()


def _of_one_kind(text: str, slot: Slot, value: Any) -> bool:
    """Whether both are lists or both are maps, and written so that a part can change alone."""
    node = slot.node
    if node.is_scalar or node.alias or not is_collection(value):
        return False
    if node.flow and text[node.end - 1 : node.end] not in {"}", "]"}:
        return False  # a lone pair in a list, without brackets
    return node.is_map is isinstance(value, Mapping)


class _Lines:
    """Cuts in a list or a map that has a line or more for each key or item."""

    def __init__(
        self, text: str, slot: Slot, made: Changes, line_break: str, *, literals: bool
    ) -> None:
        self._text = text
        self._slot = slot
        self._made = made
        self._parts = made.parts
        self._break = line_break
        self._literals = literals
        self._style: tuple[str, int] | None = None
        self._width = column(text, made.parts[0].start)
        # Whether the first key or item stands behind the dash that holds it.
        self._inline = not alone(text, made.parts[0].start) or slot.base < 0

    def cuts(self) -> Iterator[Cut]:
        made = self._made
        if not made.stay and not made.added:
            yield from self._emptied()
            return
        first = min(made.stay, default=len(self._parts))
        new = {at: self._shown(values) for at, values in made.added.items()}
        early = [line for at in sorted(new) if at < first for line in new[at]]
        if early and first == 0:
            start = self._parts[0].start
            lines = [*early, " " * self._width]
            yield start, start, self._break.join(lines)[self._width :]
        elif early:
            new = {at: lines for at, lines in new.items() if at >= first} | {0: early}
        if first and not early:
            yield from self._first_gone(first)
        for at in range(0 if early else first, len(self._parts)):
            yield from self._one(at, new.get(at, []))

    def _one(self, at: int, new: list[str]) -> Iterator[Cut]:
        """Cuts for one key or item: it goes, or others come behind it, or in its place."""
        text, part = self._text, self._parts[at]
        if at in self._made.stay:
            if new:
                end = self._end(at)
                yield end, end, "".join(self._break + line for line in new)
            return
        start, end = self._start(at), self._end(at)
        if new and not alone(text, part.start):
            yield part.start, end, self._break.join(new)[self._width :]
        elif new:
            yield start, end, self._break.join(new)
        elif end == len(text) or not start:
            yield start, next_line(text, end), ""
        else:
            yield line_before(text, start), end, ""

    def _first_gone(self, first: int) -> Iterator[Cut]:
        """Cuts for those that go at the start, where nothing comes in their place."""
        text, parts = self._text, self._parts
        if alone(text, parts[0].start):
            for at in range(first):
                yield from self._one(at, [])
            return
        between = zip(range(first), range(1, first + 1), strict=True)
        gaps = (text[self._end(a) : line_start(text, parts[b].start)] for a, b in between)
        if not any("#" in gap for gap in gaps):
            yield parts[0].start, parts[first].start, ""
            return
        bare = len(text[line_start(text, parts[0].start) : parts[0].start].rstrip(" "))
        yield line_start(text, parts[0].start) + bare, self._end(0), ""
        for at in range(1, first):
            yield from self._one(at, [])

    def _emptied(self) -> Iterator[Cut]:
        """Cuts that leave empty brackets; comments on lines of their own stay."""
        part = self._parts[0]
        shown = "{}" if self._slot.node.is_map else "[]"
        if self._inline:
            yield part.start, part.last, shown
        else:
            behind = start_behind(self._text, self._slot)
            yield behind, behind, f" {shown}"
        for at in range(1 if self._inline else 0, len(self._parts)):
            yield from self._one(at, [])

    def _start(self, at: int) -> int:
        """Where the lines of a key or an item begin, with the comment that belongs to an item."""
        text = self._text
        start = line_start(text, self._parts[at].start)
        if self._slot.node.is_map or not at:
            return start
        floor = self._end(at - 1)
        while (above := line_start(text, line_before(text, start))) > floor:
            if not remark_at(text, above, self._width):
                break
            start = above
        return start

    def _end(self, at: int) -> int:
        """Where the last line of a key or an item ends; comments deeper than a dash are inside."""
        text = self._text
        end = line_end(text, self._parts[at].last)
        while not self._slot.node.is_map and end < len(text):
            below = next_line(text, end)
            if not remark_at(text, below, self._width, deeper=True):
                break
            end = line_end(text, below)
        return end

    def _shown(self, values: list[Any]) -> list[str]:
        """New keys or items as lines, written as those are that are there."""
        indent = " " * self._width
        if self._slot.node.is_map:
            name = quotes([name for name, _ in self._slot.node.pairs])
            return as_lines(dict(values), indent, literals=self._literals, name=name)
        quote, step = self._style = self._style or self._neighbours()
        lines: list[str] = []
        for value in values:
            if step and isinstance(value, Mapping) and value:
                below = as_lines(value, indent + " " * step, literals=self._literals)
                lead = f"{indent}-".ljust(self._width + step)
                lines += [lead + below[0][len(lead) :], *below[1:]]
            elif is_collection(value):
                lines.append(f"{indent}- {in_brackets(value)}")
            else:
                lines.append(f"{indent}- {on_one_line(value, quote)}")
        return lines

    def _neighbours(self) -> tuple[str, int]:
        """The quote of items, and how far behind its dash an item with lines begins; else 0."""
        quote = quotes([one.slot.node for one in self._parts if isinstance(one.slot.value, str)])
        inside = [one.slot.node.start for one in self._parts if one.slot.in_lines]
        steps = (column(self._text, at) - self._width for at in inside if not alone(self._text, at))
        return quote, next(steps, 2 if inside else 0)
