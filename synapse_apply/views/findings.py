"""Diagnostics as blocks of text: what, where, why, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from synapse_apply.model.diagnostic import Diagnostic, Path, Position
from synapse_apply.views.literals import key_text
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean, disarm, told_lines

# From so many on, findings of one cause are told once.
_FEWEST_ALIKE = 4
_SHOWN = 5


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
    """A block a finding, without the empty lines around it; equal causes share one."""
    return ["\n".join(_block(finding, pen)) for finding in with_counts(diagnostics)]


def with_counts(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The findings, where many have one cause as one that counts what they are about.

    To say the same of each address would hide what else is there.
    """
    groups: dict[tuple[object, ...], list[Diagnostic]] = {}
    for number, one in enumerate(diagnostics):
        said = (_anonymous(text, one) for text in (one.summary, one.detail, one.hint))
        cause = (one.severity, *said, one.path, one.target, one.rule)
        groups.setdefault(cause if one.address else (number,), []).append(one)
    merged: list[Diagnostic] = []
    for alike in groups.values():
        if alike[0].of_backend and len(alike) > 1:
            merged.append(_counted_by_kind(alike))
        else:
            merged += alike if len(alike) < _FEWEST_ALIKE else [_merge_alike(alike)]
    return merged


def _anonymous(text: str, finding: Diagnostic) -> str:
    """A text of a finding as it would be for any other address."""
    return text.replace(finding.address, "\0") if finding.address else text


def _merge_alike(alike: Sequence[Diagnostic]) -> Diagnostic:
    first = alike[0]
    names = list(dict.fromkeys(str(one.address) for one in alike))
    shown, more = names[:_SHOWN], len(names) - _SHOWN
    listed = ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
    about = f"{len(names):,} resources: {listed}."
    detail = f"{first.detail}\n{about}" if first.detail else about
    return first.with_(detail=detail, address=None, position=None)


def _counted_by_kind(alike: Sequence[Diagnostic]) -> Diagnostic:
    """One fact of a backend, with how many resources met it: `... of a plugin (3 plugins).`."""
    kinds = Counter(address.partition("/")[0] for address in {str(one.address) for one in alike})
    counts = ", ".join(
        f"{count:,} {kind}{'s' if count != 1 else ''}" for kind, count in sorted(kinds.items())
    )
    detail = f"{alike[0].detail.rstrip('.')} ({counts})."
    return alike[0].with_(detail=detail, address=None, position=None)


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
