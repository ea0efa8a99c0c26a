"""How a refused change is shown: `!` rows with reason, position and ways out."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.model.plan import Change, Refusal
from synapse_apply.views.grammar import format_refusal_phrase
from synapse_apply.views.sanitize import sanitize, sanitize_plan_lines
from synapse_apply.views.text.findings import format_position
from synapse_apply.views.text.style import Style


def format_refusal_rows(change: Change, style: Style, field_lines: Sequence[str] = ()) -> list[str]:
    """The `!` rows of one change; `field_lines` show the fields that were wanted."""
    lines: list[str] = []
    for index, refusal in enumerate(change.refusals):
        lines += _format_refusal_row(change, refusal, style)
        lines += field_lines if index == 0 else ()
        lines += _ways_out(change, refusal, style)
    return lines


def _format_refusal_row(change: Change, refusal: Refusal, style: Style) -> list[str]:
    first_line, *continuation = sanitize_plan_lines(refusal.reason)
    subject = style(f"{sanitize(change.address)} {format_refusal_phrase(change.action)}", "bold")
    return [
        f"  {style.format_symbol_and_space('!')}{subject}: {first_line}",
        *(f"      {line}".rstrip() for line in continuation),
    ]


def _ways_out(change: Change, refusal: Refusal, style: Style) -> list[str]:
    position = refusal.position or change.position
    lines = [f"      {style(f'on {format_position(position)}', 'dim')}"] if position else []
    if len(refusal.ways_out) == 1:
        first_line, *continuation = sanitize_plan_lines(refusal.ways_out[0])
        return [
            *lines,
            f"      Way out: {first_line}",
            *(f"               {line}" for line in continuation),
        ]
    if refusal.ways_out:
        lines.append("      Ways out:")
    for way_out in refusal.ways_out:
        first_line, *continuation = sanitize_plan_lines(way_out)
        lines += [f"        * {first_line}", *(f"          {line}" for line in continuation)]
    return lines


def format_refused_count(count: int, style: Style) -> str:
    """The line before `Plan:` that counts refused changes, so that none is overlooked."""
    return style(f"Refused: {count} (see ! rows).", "bold")
