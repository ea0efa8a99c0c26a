"""Cuts in a list or a map in brackets: parts go and come, with their commas and comments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from synapse_apply.manifests.reshaping import in_brackets, quotes
from synapse_apply.manifests.scalar_texts import on_one_line
from synapse_apply.manifests.slots import (
    Cut,
    Entry,
    Slot,
    alone,
    cut,
    line_before,
    line_start,
    remark_at,
)
from synapse_apply.manifests.spans import BREAKS, column, line_end


def changed_brackets(
    text: str,
    slot: Slot,
    parts: Sequence[Entry],
    stay: set[int],
    added: dict[int, list[Any]],
    line_break: str,
) -> Iterator[Cut]:
    """Cuts that leave the parts that stay and put `added` behind them, -1 for the start."""
    made = _Brackets(text, slot, parts, stay, line_break)
    first = min(stay, default=len(parts))
    early = [made.shown(one) for at in sorted(added) if at < first for one in added[at]]
    if not stay:
        yield from made.all_gone(early)
        return
    if early:
        yield from made.before(first, early)
    for at in sorted(stay & added.keys()):
        yield from made.behind(at, [made.shown(one) for one in added[at]])
    yield from made.without(last_has_more=max(stay) in added)


class _Brackets:
    def __init__(
        self, text: str, slot: Slot, parts: Sequence[Entry], stay: set[int], line_break: str
    ) -> None:
        self._text = text
        self._node = slot.node
        self._parts = parts
        self._stay = stay
        self._break = line_break
        names = [name for name, _ in self._node.pairs]
        texts = [one.slot.node for one in parts if isinstance(one.slot.value, str)]
        self._quote = quotes(names or texts)

    def shown(self, value: Any) -> str:
        """An item, or a pair of key and value, quoted as the others are."""
        if not self._node.is_map:
            return in_brackets(value, self._quote)
        key, below = value
        quote = self._quote if self._quote == '"' else ""
        return f"{on_one_line(key, self._quote, flow=True)}: {in_brackets(below, quote)}"

    def all_gone(self, new: list[str]) -> Iterator[Cut]:
        """Cuts where no part stays; comments on lines of their own do."""
        parts = self._parts
        start, end = self._open(), self._node.end - 1
        if not parts:
            yield end, end, ", ".join(new)
        elif not self._remark(start, end, parts):
            whole = (parts[0].start, parts[-1].last) if new else (start, end)
            yield *whole, self._joint(0).join(new)
        elif new:
            yield parts[0].start, parts[0].last, ", ".join(new)
            self._stay = {0}
            yield from self.without(last_has_more=False)
        else:
            cuts = [self._one(at) for at in range(len(parts))]
            left = cut(self._text[:end], cuts)[start:]
            yield from cuts if "#" in left else [(start, end, "")]

    def before(self, at: int, new: list[str]) -> Iterator[Cut]:
        """Cuts that put new parts before one that stays."""
        start = self._parts[at].start
        yield start, start, "".join(one + self._joint(at) for one in new)

    def behind(self, at: int, new: list[str]) -> Iterator[Cut]:
        """Cuts that put new parts behind one that stays: on lines of their own where it is."""
        text, part = self._text, self._parts[at]
        if not self._own(at):
            yield part.last, part.last, "".join(f", {one}" for one in new)
            return
        last = at == max(self._stay) and self._parts[-1].comma < 0
        if part.comma < 0:
            yield part.last, part.last, ","
        end = line_end(text, max(part.last, part.comma))
        lines = self._joint(at).join(new) + ("" if last else ",")
        yield end, end, self._joint(at)[1:] + lines

    def without(self, *, last_has_more: bool) -> Iterator[Cut]:
        """Cuts for the parts that go, run by run."""
        parts, stay = self._parts, self._stay
        kept = sorted(stay)
        for before, after in zip([-1, *kept], [*kept, len(parts)], strict=True):
            if after == before + 1:
                continue
            first = parts[before + 1]
            at_end = after == len(parts) and parts[-1].comma < 0
            start = parts[before].comma + 1 if before >= 0 else self._open()
            end = self._node.end - 1 if after == len(parts) else parts[after].start
            own_lines = last_has_more and at_end and self._own(before)
            if not self._remark(start, end, parts[before + 1 : after]) and not own_lines:
                if after < len(parts):
                    yield first.start, end, ""
                else:
                    yield (
                        parts[before].comma + (0 if at_end else 1),
                        max(parts[-1].last, parts[-1].comma + 1),
                        "",
                    )
                continue
            if at_end and not own_lines:
                yield start - 1, start, ""
            yield from (self._one(at) for at in range(before + 1, after))

    def _one(self, at: int) -> Cut:
        """The cut for one part that goes: its lines, with its comments, or itself."""
        text, part = self._text, self._parts[at]
        if self._own(at):
            start = line_start(text, part.start)
            floor = self._parts[at - 1].last if at else len(text)
            while (above := line_start(text, line_before(text, start))) > floor:
                if not remark_at(text, above, column(text, part.start)):
                    break
                start = above
            end = line_end(text, max(part.last, part.comma))
            return line_before(text, start), end, ""
        start, end = part.start, max(part.last, part.comma + 1)
        rest = text[end : line_end(text, end)].lstrip(" \t")
        first = not at or self._parts[at - 1].last < line_start(text, start)
        if rest.startswith("#") and first:
            end = line_end(text, end)
        elif not rest.startswith("#"):
            end += len(text[end : line_end(text, end)]) - len(rest)
        if text[end] in BREAKS:
            while text[start - 1] in " \t":
                start -= 1
        return start, end, ""

    def _own(self, at: int) -> bool:
        """Whether a part has its lines for itself."""
        text, part = self._text, self._parts[at]
        end = max(part.last, part.comma + 1)
        rest = text[end : line_end(text, end)].strip(" \t")
        return (not rest or rest.startswith("#")) and alone(text, part.start)

    def _joint(self, at: int) -> str:
        """What stands between two parts."""
        start = self._parts[at].start
        if not self._own(at):
            return ", "
        return f",{self._break}{' ' * column(self._text, start)}"

    def _open(self) -> int:
        """Where the inside of the brackets begins."""
        return self._text.index("{" if self._node.is_map else "[", self._node.start) + 1

    def _remark(self, start: int, end: int, inside: Sequence[Entry]) -> bool:
        """Whether a comment stands between two places, in none of the parts there."""
        text = self._text
        gaps = [start, *(place for one in inside for place in (one.start, one.last)), end]
        return any("#" in text[a:b] for a, b in zip(gaps[::2], gaps[1::2], strict=True))
