"""Which entries of a document's sections are shown within a size limit; the rest is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from synapse_apply.model.frozen import frozen
from synapse_apply.views.sanitize import escape_ci_commands

MIN_BUDGET = 8192


def count_utf8_bytes(text: str) -> int:
    """The size of a text in UTF-8 bytes."""
    return len(text.encode())


@frozen
class SizeBudget:
    """The size limit of a document, in what `measure` counts (characters, or bytes)."""

    limit: int
    measure: Callable[[str], int] = len

    def __post_init__(self) -> None:
        """Raise ValueError for a limit in which the headings may not fit."""
        if self.limit < MIN_BUDGET:
            raise ValueError(f"a report needs a budget of at least {MIN_BUDGET}")

    @property
    def max_size_of_one_entry(self) -> int:
        """The limit of one entry, so that a single resource does not crowd out all others."""
        return self.limit // 4


# GitHub's limits: a comment has at most 65,536 characters. A step summary above 1 MiB is dropped
# as a whole, and so is one of exactly that size.
COMMENT_BUDGET = SizeBudget(65_536)
STEP_SUMMARY_BUDGET = SizeBudget(1_000_000, count_utf8_bytes)


@frozen
class SizedSection:
    """A heading and `count` entries, which are built lazily and never cut."""

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
    """The document's text, in at most `budget`; `build_footer` gets the count of hidden entries.

    Every section keeps its heading. Where not all fits, small sections are complete and large ones
    share the rest.
    """
    heading = escape_ci_commands(heading)
    measure, entry_count = budget.measure, sum(section.count for section in sections)
    frame_size = sum(
        measure(_format_section(section, [], section.count)) + 8 for section in sections
    )
    # The frames are measured with all entries hidden, which is when their notes are longest.
    room = budget.limit - measure(heading) - measure(build_footer(entry_count)) - frame_size - 8
    # Entries are taken lazily: a plan of thousands of changes renders only those that can fit.
    measured_entries = [_take_entries(section, room, measure) for section in sections]
    shares = _divide_room([sum(sizes) for _, sizes in measured_entries], max(room, 0))
    parts, hidden_count = [heading], 0
    for section, (entries, sizes), share in zip(sections, measured_entries, shares, strict=True):
        shown_entries = entries[: _count_fitting(sizes, share)]
        hidden_count += section.count - len(shown_entries)
        parts.append(_format_section(section, shown_entries, section.count - len(shown_entries)))
    return "\n\n".join(part for part in (*parts, build_footer(hidden_count)) if part) + "\n"


def _take_entries(
    section: SizedSection, room: int, measure: Callable[[str], int]
) -> tuple[list[str], list[int]]:
    """The first entries of a section with their sizes, up to the one that exceeds the room."""
    entries: list[str] = []
    sizes: list[int] = []
    remaining_room = room
    # Escaped before measuring, as escaping makes texts longer.
    for entry in map(escape_ci_commands, section.entries):
        entries.append(entry)
        sizes.append(measure(entry) + measure(section.separator))
        remaining_room -= sizes[-1]
        if remaining_room < 0:
            break
    return entries, sizes


# Budgets share: small sections are complete, large ones share the rest, and an entry is never cut
# in two.
def _divide_room(wanted_sizes: Sequence[int], room: int) -> list[int]:
    """How much of the room each gets: what it wants, or an equal share of what is left.

    The smallest are served first, so that what they leave goes to the larger ones.
    """
    shares = [0] * len(wanted_sizes)
    for served_count, index in enumerate(
        sorted(range(len(wanted_sizes)), key=wanted_sizes.__getitem__)
    ):
        shares[index] = min(wanted_sizes[index], room // (len(wanted_sizes) - served_count))
        room -= shares[index]
    return shares


def _count_fitting(sizes: Sequence[int], max_total_size: int) -> int:
    for count, size in enumerate(sizes):
        max_total_size -= size
        if max_total_size < 0:
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
