"""Which entries, and which of several targets, fit a size limit; those that do not are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, islice

from synapse_apply.model.errors import Exit
from synapse_apply.model.frozen import frozen
from synapse_apply.views.markdown.markup import (
    MAX_NAME_LENGTH,
    code_span,
    encode_marker_name,
    hidden_marker,
)
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
    separator: str = "\n\n"

    def format(self, shown: Sequence[str]) -> str:
        """The section with these entries, and the number of those that are not shown."""
        hidden = self.count - len(shown)
        note = f"*{hidden:,} {'more ' if shown else ''}not shown here.*" if hidden else ""
        return "\n\n".join(filter(None, (self.opening, self.separator.join(shown), note)))

    def take(self, room: int, measure: Callable[[str], int]) -> tuple[list[str], list[int]]:
        """The first entries with their sizes, up to the one that exceeds the room."""
        entries: list[str] = []
        sizes: list[int] = []
        # Escaped before measuring, as escaping makes texts longer.
        for entry in map(escape_ci_commands, self.entries):
            entries.append(entry)
            sizes.append(measure(entry) + measure(self.separator))
            room -= sizes[-1]
            if room < 0:
                break
        return entries, sizes


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
    # The frames are measured with all entries hidden, which is when their notes are longest.
    frame_size = sum(measure(section.format([])) + 8 for section in sections)
    room = budget.limit - measure(heading) - measure(build_footer(entry_count)) - frame_size - 8
    # Entries are taken lazily: a plan of thousands of changes renders only those that can fit.
    taken = [section.take(room, measure) for section in sections]
    shares = _divide_room([sum(sizes) for _, sizes in taken], max(room, 0))
    parts, hidden_count = [heading], entry_count
    for section, (entries, sizes), share in zip(sections, taken, shares, strict=True):
        shown = entries[: sum(total <= share for total in accumulate(sizes))]
        hidden_count -= len(shown)
        parts.append(section.format(shown))
    return "\n\n".join(filter(None, (*parts, build_footer(hidden_count)))) + "\n"


# Budgets share: small sections are complete, large ones share the rest, and an entry is never cut
# in two.
def _divide_room(wanted_sizes: Sequence[int], room: int) -> list[int]:
    """How much of the room each gets: what it wants, or an equal share of what is left.

    The smallest are served first, so that what they leave goes to the larger ones.
    """
    shares = [0] * len(wanted_sizes)
    by_size = sorted(range(len(wanted_sizes)), key=wanted_sizes.__getitem__)
    for served_count, index in enumerate(by_size):
        shares[index] = min(wanted_sizes[index], room // (len(wanted_sizes) - served_count))
        room -= shares[index]
    return shares


_MAX_ROWS = 100
_WORDS_BY_OUTPUT: Mapping[str, str] = {
    "import": "to import",
    "add": "to add",
    "change": "to change",
    "destroy": "to destroy",
    "refused": "refused",
    "failed": "failed",
    "unknown": "unknown",
    "drifted": "changed outside",
    "gone": "gone",
}
_PAST_WORDS: Mapping[str, str] = {
    "import": "imported", "add": "added", "change": "changed", "destroy": "destroyed",
}  # fmt: skip


@frozen
class MarkdownPart:
    """One target's exit code, its counts by the names of step outputs, and its own Markdown."""

    target: str
    exit_code: int
    outputs: Mapping[str, str]
    render: Callable[[SizeBudget], str] | None


def render_targets_markdown(
    parts: Sequence[MarkdownPart],
    not_begun: Sequence[str],
    command: str,
    selectors: str,
    *,
    budget: SizeBudget,
) -> str:
    """A table with a row for each target, worst first, then the Markdown of those with something.

    What does not fit the budget is counted. The marker makes it replace the comment of the same
    `command` on the same `selectors`.
    """
    worst_first = sorted(parts, key=lambda part: Exit.PRECEDENCE.index(part.exit_code))
    name = encode_marker_name(selectors)
    heading_parts = [
        hidden_marker(f"targets={name}" + ("" if command == "plan" else f" {command}")),
        f"## {command.capitalize()} of {len(parts) + len(not_begun):,} targets",
        _targets_table(worst_first, command, budget),
        _not_begun(not_begun, budget),
    ]
    texts = ["\n\n".join(filter(None, heading_parts))]
    room = budget.limit - budget.measure(texts[0]) - 200
    # Those of which something is to be done, or went wrong.
    readable = [
        (part, part.render)
        for part in worst_first
        if part.render is not None
        and (part.exit_code != Exit.OK or part.outputs.get("has_changes") == "true")
    ]
    # The first ones get an equal share of the room each.
    for index, (_, render) in enumerate(readable):
        share = max(MIN_BUDGET, room // (len(readable) - index))
        if room < MIN_BUDGET:
            texts.append(f"*{len(readable) - index:,} more targets are not shown here.*")
            break
        text = render(SizeBudget(min(share, room), budget.measure))
        if text.startswith("<!--"):  # by its marker, a bot would take all of it for this target's
            text = text.partition("\n")[2]
        texts.append(text.strip())
        room -= budget.measure(texts[-1]) + 2
    return "\n\n".join(filter(None, texts)) + "\n"


def _targets_table(parts: Sequence[MarkdownPart], command: str, budget: SizeBudget) -> str:
    words = {**_WORDS_BY_OUTPUT, **(_PAST_WORDS if command == "apply" else {})}

    def describe(part: MarkdownPart) -> str:
        counts = [
            f"{part.outputs[name]} {word}"
            for name, word in words.items()
            if part.outputs.get(name, "0") not in {"0", ""}
        ]
        ends = {Exit.ERROR: "error", Exit.OK: "nothing"}
        return ", ".join(counts) or ends.get(part.exit_code, "")

    rows = (
        f"| {code_span(part.target, MAX_NAME_LENGTH)} | {part.exit_code} | {describe(part)} |"
        for part in parts
    )
    shown_rows = _take_texts_that_fit(rows, budget.limit // 2, budget)
    if len(parts) > len(shown_rows):
        shown_rows.append(f"| *{len(parts) - len(shown_rows):,} more* | | |")
    return "\n".join(["| Target | Exit code | |", "| --- | ---: | --- |", *shown_rows])


def _take_texts_that_fit(texts: Iterable[str], room: int, budget: SizeBudget) -> list[str]:
    """The first texts, _MAX_ROWS at most, that together are no larger than the room."""
    fitting_texts: list[str] = []
    for text in islice(texts, _MAX_ROWS):
        room -= budget.measure(text) + 2
        if room < 0:
            break
        fitting_texts.append(text)
    return fitting_texts


def _not_begun(names: Sequence[str], budget: SizeBudget) -> str:
    if not names:
        return ""
    all_spans = (code_span(name, MAX_NAME_LENGTH) for name in names)
    spans = _take_texts_that_fit(all_spans, budget.limit // 4, budget)
    more = f" and {len(names) - len(spans):,} more" if len(names) > len(spans) else ""
    return f"Not started: {', '.join(spans)}{more}."
