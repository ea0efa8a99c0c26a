"""Which targets the Markdown of several shows in full, and how each is summed up in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from synapse_apply.model.errors import Exit
from synapse_apply.model.frozen import frozen
from synapse_apply.views.markdown.budget import MIN_BUDGET, SizeBudget
from synapse_apply.views.markdown.markup import (
    MAX_NAME_LENGTH,
    encode_marker_name,
    format_cut_code_span,
    format_hidden_marker,
)

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

    @property
    def has_changes_or_failed(self) -> bool:
        """Whether something is to be done, or went wrong."""
        return self.exit_code != Exit.OK or self.outputs.get("has_changes") == "true"


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
    heading = "\n\n".join(
        filter(
            None,
            [
                format_hidden_marker(
                    f"targets={name}" + ("" if command == "plan" else f" {command}")
                ),
                f"## {command.capitalize()} of {len(parts) + len(not_begun):,} targets",
                _targets_table(worst_first, command, budget),
                _not_begun(not_begun, budget),
            ],
        )
    )
    readable_parts = [
        part for part in worst_first if part.has_changes_or_failed and part.render is not None
    ]
    texts, hidden_count = _fitting_parts(readable_parts, budget, budget.measure(heading) + 200)
    footer = f"*{hidden_count:,} more targets are not shown here.*" if hidden_count else ""
    return "\n\n".join(text for text in (heading, *texts, footer) if text) + "\n"


def _fitting_parts(
    parts: Sequence[MarkdownPart], budget: SizeBudget, used_size: int
) -> tuple[list[str], int]:
    """The Markdown of the first parts, each with an equal share of the room; how many are left."""
    room = budget.limit - used_size
    texts: list[str] = []
    for index, part in enumerate(parts):
        share = max(MIN_BUDGET, room // (len(parts) - index))
        if room < MIN_BUDGET or part.render is None:
            return texts, len(parts) - index
        text = _strip_marker(part.render(SizeBudget(min(share, room), budget.measure))).strip()
        room -= budget.measure(text) + 2
        texts.append(text)
    return texts, 0


def _strip_marker(text: str) -> str:
    """The text without its first line: by that, a bot would take all of it for this target's."""
    first_line, _, rest = text.partition("\n")
    return rest if first_line.startswith("<!--") else text


def _targets_table(parts: Sequence[MarkdownPart], command: str, budget: SizeBudget) -> str:
    rows = (
        f"| {format_cut_code_span(part.target, MAX_NAME_LENGTH)} | {part.exit_code} | "
        f"{_describe_part(part, command)} |"
        for part in parts
    )
    shown_rows = _take_texts_that_fit(rows, budget.limit // 2, budget)
    if len(parts) > len(shown_rows):
        shown_rows.append(f"| *{len(parts) - len(shown_rows):,} more* | | |")
    return "\n".join(["| Target | Exit code | |", "| --- | ---: | --- |", *shown_rows])


def _take_texts_that_fit(texts: Iterable[str], max_size: int, budget: SizeBudget) -> list[str]:
    """The first texts, _MAX_ROWS at most, that together are no larger than a size."""
    fitting_texts: list[str] = []
    room = max_size
    for text in islice(texts, _MAX_ROWS):
        room -= budget.measure(text) + 2
        if room < 0:
            break
        fitting_texts.append(text)
    return fitting_texts


def _describe_part(part: MarkdownPart, command: str) -> str:
    words = {**_WORDS_BY_OUTPUT, **(_PAST_WORDS if command == "apply" else {})}
    counts = [
        f"{part.outputs[name]} {word}"
        for name, word in words.items()
        if part.outputs.get(name, "0") not in {"0", ""}
    ]
    if counts:
        return ", ".join(counts)
    return "error" if part.exit_code == Exit.ERROR else "nothing" if not part.exit_code else ""


def _not_begun(names: Sequence[str], budget: SizeBudget) -> str:
    if not names:
        return ""
    all_spans = (format_cut_code_span(name, MAX_NAME_LENGTH) for name in names)
    spans = _take_texts_that_fit(all_spans, budget.limit // 4, budget)
    more = f" and {len(names) - len(spans):,} more" if len(names) > len(spans) else ""
    return f"Not begun: {', '.join(spans)}{more}."
