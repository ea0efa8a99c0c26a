"""How counts and outcomes become small SVG drawings, which need no style of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from synapse_apply.controller.page.markup import mark_escaped_html
from synapse_apply.controller.page.phrases import CONDITION_STYLES, OUTCOME_PHRASES
from synapse_apply.controller.rows import RunOutcome, TargetCondition

SPARK_RUNS = 16
_SPARK_HEIGHT, _STEP, _BAR_WIDTH = 16, 5, 3
_BAR_HEIGHTS = {"good": 6, "moved": 11, "bad": 16}
_BAR_WIDTH_IN_ALL = 1000
_LEAST_WIDTH = 4  # so that one failing target of 10,000 is seen


def draw_spark_line(
    outcomes: Sequence[RunOutcome], tones: Mapping[RunOutcome, str], *, in_column: bool = True
) -> Markup:
    """A bar a run, oldest first; low where it was in sync, full where it failed.

    With `in_column` the newest runs of all targets stand below each other.
    """
    if not outcomes:
        return mark_escaped_html("")
    newest_outcomes = outcomes[-SPARK_RUNS:]
    first_x = (SPARK_RUNS - len(newest_outcomes)) * _STEP if in_column else 0
    paths: dict[str, list[str]] = {}
    for index, outcome in enumerate(newest_outcomes):
        height = _BAR_HEIGHTS[tones[outcome]]
        x = first_x + index * _STEP
        move = f"M{x} {_SPARK_HEIGHT}v-{height}h{_BAR_WIDTH}v{height}z"
        paths.setdefault(tones[outcome], []).append(move)
    drawn = "".join(f'<path class="{tone}" d="{"".join(ds)}"/>' for tone, ds in paths.items())
    width = SPARK_RUNS * _STEP
    label = _describe_counts(newest_outcomes)
    return mark_escaped_html(
        f'<svg class="spark" role="img" aria-label="{label}" width="{width}" '
        f'height="{_SPARK_HEIGHT}" viewBox="0 0 {width} {_SPARK_HEIGHT}">{drawn}</svg>'
    )


def _describe_counts(outcomes: Sequence[RunOutcome]) -> str:
    counts = {outcome: outcomes.count(outcome) for outcome in RunOutcome}
    words = ", ".join(f"{n} {OUTCOME_PHRASES[outcome]}" for outcome, n in counts.items() if n)
    return f"Last runs: {words}"


def draw_condition_bar(counts: Mapping[TargetCondition, int]) -> Markup:
    """All targets as one bar, a part for each condition in its colour; "" for no targets."""
    total = sum(counts.values())
    if not total:
        return mark_escaped_html("")
    shares = [(c, counts.get(c, 0)) for c in TargetCondition if counts.get(c, 0)]
    free_width = _BAR_WIDTH_IN_ALL - _LEAST_WIDTH * len(shares)
    x = 0.0
    parts = []
    for condition, count in shares:
        style = CONDITION_STYLES[condition]
        width = _LEAST_WIDTH + free_width * count / total
        parts.append(f'<rect class="{style.tone}" x="{x:.1f}" width="{width:.1f}" height="10"/>')
        x += width
    return mark_escaped_html(
        f'<svg class="shares" aria-hidden="true" preserveAspectRatio="none" '
        f'viewBox="0 0 {_BAR_WIDTH_IN_ALL} 10">{"".join(parts)}</svg>'
    )
