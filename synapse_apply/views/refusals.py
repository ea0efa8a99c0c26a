"""`!` rows: what cannot be done, why, and the ways out."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.model.plan import Change, Refusal
from synapse_apply.views.findings import place
from synapse_apply.views.grammar import cannot
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean, told_lines


def refusal_rows(change: Change, pen: Pen, body: Sequence[str] = ()) -> list[str]:
    """The `!` rows of one change; `body` are lines that show what was wanted."""
    lines: list[str] = []
    for index, refusal in enumerate(change.refusals):
        lines += _row(change, refusal, pen)
        lines += body if index == 0 else ()
        lines += _ways_out(change, refusal, pen)
    return lines


def _row(change: Change, refusal: Refusal, pen: Pen) -> list[str]:
    head, *rest = told_lines(refusal.reason)
    what = pen(f"{clean(change.address)} {cannot(change.action)}", "bold")
    return [f"  {pen.mark('!')}{what}: {head}", *(f"      {line}".rstrip() for line in rest)]


def _ways_out(change: Change, refusal: Refusal, pen: Pen) -> list[str]:
    where = refusal.position or change.position
    lines = [f"      {pen(f'on {place(where)}', 'dim')}"] if where else []
    if len(refusal.ways_out) == 1:
        head, *rest = told_lines(refusal.ways_out[0])
        return [*lines, f"      Way out: {head}", *(f"               {line}" for line in rest)]
    if refusal.ways_out:
        lines.append("      Ways out:")
    for way in refusal.ways_out:
        head, *rest = told_lines(way)
        lines += [f"        * {head}", *(f"          {line}" for line in rest)]
    return lines


def refused_line(count: int, pen: Pen) -> str:
    """The line before `Plan:` that keeps a refusal from being overlooked."""
    return pen(f"Refused: {count} (see ! rows).", "bold")
