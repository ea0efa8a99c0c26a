"""Diagnostics as blocks of text: what, where, why, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable

from synapse_apply.model.diagnostic import Diagnostic, Path, Position
from synapse_apply.views.literals import key_text
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean, disarm, told_lines


def render_diagnostics(diagnostics: Iterable[Diagnostic], *, color: bool) -> str:
    """Every finding as an `Error: `, `Warning: ` or `Note: ` block, one empty line between them.

    "" when there are none; else the text ends with a newline.
    """
    blocks = finding_blocks(diagnostics, Pen(color))
    return disarm("\n\n".join(blocks) + "\n") if blocks else ""


def counted(diagnostics: Iterable[Diagnostic]) -> str:
    """`, 2 warnings, 1 note`, for the end of a sentence; "" where there are none."""
    found = list(diagnostics)
    counts = {
        "warning": sum(finding.is_warning for finding in found),
        "note": sum(finding.is_note for finding in found),
    }
    return "".join(
        f", {count:,} {word}{'s' if count != 1 else ''}" for word, count in counts.items() if count
    )


def finding_blocks(diagnostics: Iterable[Diagnostic], pen: Pen) -> list[str]:
    """A block a finding, without the empty lines around it."""
    return ["\n".join(_block(finding, pen)) for finding in diagnostics]


def _block(finding: Diagnostic, pen: Pen) -> list[str]:
    word = finding.severity.value
    lines = [pen(f"{word.title()}: ", word) + pen(clean(finding.summary), "bold")]
    if where := whereabouts(finding):
        lines.append(f"  {where}")
    lines += indented(finding.detail)
    if finding.hint:
        head, *rest = told_lines(finding.hint)
        lines += [f"  Hint: {head}", *(f"        {line}".rstrip() for line in rest)]
    if finding.request_id and finding.request_id not in finding.detail:
        lines.append("  " + pen(f"Request id: {clean(finding.request_id)}", "dim"))
    return lines


def indented(text: str, by: int = 2) -> list[str]:
    """Lines of prose under a heading; none for an empty text."""
    return [f"{' ' * by}{line}".rstrip() for line in told_lines(text)] if text else []


def whereabouts(finding: Diagnostic) -> str:
    """`on FILE:LINE:COLUMN, with ADDRESS, field PATH, target NAME, rule ID`, as far as known."""
    parts = []
    if finding.position is not None:
        parts.append(f"on {place(finding.position)}")
    if finding.address:
        parts.append(f"with {clean(finding.address)}")
    if finding.path:
        parts.append(f"field {dotted(finding.path)}")
    if finding.target:
        parts.append(f"target {clean(finding.target)}")
    if finding.rule:
        parts.append(f"rule {clean(finding.rule)}")
    return ", ".join(parts)


def place(position: Position) -> str:
    """`file:line:column`, which editors and terminals make clickable."""
    return clean(position)


def dotted(path: Path) -> str:
    """A field's path as people write it: `spec.configuration.region`, `steps[0].name`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + key_text(part)
    return text
