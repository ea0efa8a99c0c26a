"""A document of sections that fits a limit: whole entries alone, and the rest is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from synapse_apply.model.frozen import frozen
from synapse_apply.views.sanitize import escape_ci_commands

MIN_BUDGET = 8192


def count_utf8_bytes(text: str) -> int:
    """The size of a text in bytes."""
    return len(text.encode())


@frozen
class SizeBudget:
    """How large a document may be: `limit` in characters, or in what `measure` counts."""

    limit: int
    measure: Callable[[str], int] = len

    def __post_init__(self) -> None:
        """ValueError for a limit in which not even the headings fit."""
        if self.limit < MIN_BUDGET:
            raise ValueError(f"a report needs a budget of at least {MIN_BUDGET}")

    @property
    def max_entry_size(self) -> int:
        """What one entry may take, so that a single resource does not crowd out all others."""
        return self.limit // 4


# What GitHub takes: a comment has 65,536 characters. A step summary of more than 1 MiB is dropped
# whole, and one of just that size, too.
COMMENT_BUDGET = SizeBudget(65_536)
STEP_SUMMARY_BUDGET = SizeBudget(1_000_000, count_utf8_bytes)


@frozen
class SizedSection:
    """A heading and `count` entries, made as they are needed; none is ever cut in two."""

    opening: str
    entries: Iterable[str]
    count: int
    closing: str = ""
    separator: str = "\n\n"


def fit_sections_to_budget(
    heading: str,
    sections: Sequence[SizedSection],
    build_footer: Callable[[int], str],
    budget: SizeBudget,
) -> str:
    """The document. `build_footer` is told how many entries are left out.

    Every section keeps its heading; where not all fits, small ones are whole and large ones share.
    """
    heading = escape_ci_commands(heading)
    measure, entry_count = budget.measure, sum(section.count for section in sections)
    frame_size = sum(
        measure(_format_section(section, [], section.count)) + 8 for section in sections
    )
    room = budget.limit - measure(heading) - measure(build_footer(entry_count)) - frame_size - 8
    measured_entries = [_take_fitting_entries(section, room, measure) for section in sections]
    shares = _divide_room_fairly([sum(sizes) for _, sizes in measured_entries], max(room, 0))
    parts, hidden_count = [heading], 0
    for section, (entries, sizes), share in zip(sections, measured_entries, shares, strict=True):
        shown_entries = entries[: _count_fitting_entries(sizes, share)]
        hidden_count += section.count - len(shown_entries)
        parts.append(_format_section(section, shown_entries, section.count - len(shown_entries)))
    return "\n\n".join(part for part in (*parts, build_footer(hidden_count)) if part) + "\n"


def _take_fitting_entries(
    section: SizedSection, room: int, measure: Callable[[str], int]
) -> tuple[list[str], list[int]]:
    """Entries and their sizes, until they are more than the whole room: no more can be shown."""
    entries: list[str] = []
    sizes: list[int] = []
    remaining_room = room
    for entry in map(escape_ci_commands, section.entries):
        entries.append(entry)
        sizes.append(measure(entry) + measure(section.separator))
        remaining_room -= sizes[-1]
        if remaining_room < 0:
            break
    return entries, sizes


# Budgets share: small sections are complete, large ones share the rest, and an entry is never cut
# in two.
def _divide_room_fairly(wanted_sizes: Sequence[int], room: int) -> list[int]:
    """What each may take of the room: nobody less than an equal share, unless it wants less."""
    shares = [0] * len(wanted_sizes)
    for served_count, index in enumerate(
        sorted(range(len(wanted_sizes)), key=wanted_sizes.__getitem__)
    ):
        shares[index] = min(wanted_sizes[index], room // (len(wanted_sizes) - served_count))
        room -= shares[index]
    return shares


def _count_fitting_entries(sizes: Sequence[int], share: int) -> int:
    for count, size in enumerate(sizes):
        share -= size
        if share < 0:
            return count
    return len(sizes)


def _format_section(section: SizedSection, shown_entries: Sequence[str], hidden_count: int) -> str:
    hidden_note = (
        [f"*{hidden_count:,} {'more ' if shown_entries else ''}not shown here.*"]
        if hidden_count
        else []
    )
    body = section.separator.join(shown_entries)
    return "\n\n".join(
        part for part in (section.opening, body, *hidden_note, section.closing) if part
    )
