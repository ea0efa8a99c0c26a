"""A document of sections that fits a limit: whole entries alone, and the rest is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from synapse_apply.model.frozen import frozen
from synapse_apply.views.safety import disarm

SMALLEST = 8192


def utf8(text: str) -> int:
    """The size of a text in bytes."""
    return len(text.encode())


@frozen
class Budget:
    """How large a document may be: `limit` in characters, or in what `measure` counts."""

    limit: int
    measure: Callable[[str], int] = len

    def __post_init__(self) -> None:
        """ValueError for a limit in which not even the headings fit."""
        if self.limit < SMALLEST:
            raise ValueError(f"a report needs a budget of at least {SMALLEST}")

    @property
    def largest_entry(self) -> int:
        """What one entry may take, so that a single resource does not crowd out all others."""
        return self.limit // 4


# What GitHub takes: a comment has 65,536 characters. A step summary of more than 1 MiB is dropped
# whole, and one of just that size, too.
COMMENT = Budget(65_536)
STEP_SUMMARY = Budget(1_000_000, utf8)


@frozen
class Section:
    """A heading and `count` entries, made as they are needed; none is ever cut in two."""

    opening: str
    entries: Iterable[str]
    count: int
    closing: str = ""
    joint: str = "\n\n"


def fit(head: str, sections: Sequence[Section], foot: Callable[[int], str], budget: Budget) -> str:
    """The document. `foot` is told how many entries are left out.

    Every section keeps its heading; where not all fits, small ones are whole and large ones share.
    """
    head = disarm(head)
    size, most = budget.measure, sum(section.count for section in sections)
    around = sum(size(_laid_out(section, [], section.count)) + 8 for section in sections)
    room = budget.limit - size(head) - size(foot(most)) - around - 8
    taken = [_taken(section, room, size) for section in sections]
    shares = _shares([sum(sizes) for _, sizes in taken], max(room, 0))
    parts, hidden = [head], 0
    for section, (entries, sizes), share in zip(sections, taken, shares, strict=True):
        kept = entries[: _how_many(sizes, share)]
        hidden += section.count - len(kept)
        parts.append(_laid_out(section, kept, section.count - len(kept)))
    return "\n\n".join(part for part in (*parts, foot(hidden)) if part) + "\n"


def _taken(section: Section, room: int, size: Callable[[str], int]) -> tuple[list[str], list[int]]:
    """Entries and their sizes, until they are more than the whole room: no more can be shown."""
    entries: list[str] = []
    sizes: list[int] = []
    left = room
    for entry in map(disarm, section.entries):
        entries.append(entry)
        sizes.append(size(entry) + size(section.joint))
        left -= sizes[-1]
        if left < 0:
            break
    return entries, sizes


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """What each may take of the room: nobody less than an equal share, unless it wants less."""
    given = [0] * len(wanted)
    for done, at in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        given[at] = min(wanted[at], room // (len(wanted) - done))
        room -= given[at]
    return given


def _how_many(sizes: Sequence[int], share: int) -> int:
    for count, size in enumerate(sizes):
        share -= size
        if share < 0:
            return count
    return len(sizes)


def _laid_out(section: Section, kept: Sequence[str], hidden: int) -> str:
    more = [f"*{hidden:,} {'more ' if kept else ''}not shown here.*"] if hidden else []
    body = section.joint.join(kept)
    return "\n\n".join(part for part in (section.opening, body, *more, section.closing) if part)
