"""How diagnostics and refused changes are shown as text, and which similar findings are merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.plan import Change, Refusal
from synapse_apply.views.grammar import format_refusal_phrase
from synapse_apply.views.sanitize import escape_ci_commands, sanitize, sanitize_plan_lines
from synapse_apply.views.text.terminal import Style
from synapse_apply.views.text.values import quote_key

# From so many on, findings that differ only in their address are merged.
_MIN_MERGED = 4
_MAX_LISTED = 5


def render_diagnostics(diagnostics: Iterable[Diagnostic], *, color: bool) -> str:
    """Findings, similar ones merged, as `Error: `, `Warning: ` or `Note: ` blocks, a line apart.

    "" when there are none; else the text ends with a newline.
    """
    blocks = finding_blocks(diagnostics, Style(color))
    return escape_ci_commands("\n\n".join(blocks) + "\n") if blocks else ""


def format_finding_counts(diagnostics: Iterable[Diagnostic]) -> str:
    """`, 2 warnings, 1 note`, for the end of a sentence; "" where there are none."""
    counts = Counter(finding.severity.value for finding in diagnostics)
    return "".join(
        f", {counts[word]:,} {word}{'s' if counts[word] != 1 else ''}"
        for word in ("error", "warning", "note")
        if counts[word]
    )


def finding_blocks(diagnostics: Iterable[Diagnostic], style: Style) -> list[str]:
    """A block for each finding, similar ones merged, without empty lines around it."""
    return [
        "\n".join(_format_finding_block(finding, style)) for finding in merge_findings(diagnostics)
    ]


def merge_findings(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The findings, with those that differ only in their address merged into one.

    A hundred repetitions of one finding would hide the others.
    """
    groups: dict[tuple[object, ...], list[Diagnostic]] = {}
    for number, finding in enumerate(diagnostics):
        # Texts often name the address, which would make every finding different.
        anonymous_texts = (
            (text.replace(finding.address, "\0") if finding.address else text)
            for text in (finding.summary, finding.detail, finding.hint)
        )
        group_key = (finding.severity, *anonymous_texts, finding.path, finding.target, finding.rule)
        # A finding without an address gets a group of its own, so that it is never merged.
        groups.setdefault(group_key if finding.address else (number,), []).append(finding)
    merged: list[Diagnostic] = []
    for similar_findings in groups.values():
        # A fact about the backend is the same for all its objects, so two are merged already.
        if similar_findings[0].of_backend and len(similar_findings) > 1:
            merged.append(_merge_backend(similar_findings))
        else:
            is_merged = len(similar_findings) >= _MIN_MERGED
            merged += [_merge_addresses(similar_findings)] if is_merged else similar_findings
    return merged


def _merge_addresses(similar_findings: Sequence[Diagnostic]) -> Diagnostic:
    first_finding = similar_findings[0]
    addresses = list(dict.fromkeys(str(finding.address) for finding in similar_findings))
    hidden_count = len(addresses) - _MAX_LISTED
    more = f" and {hidden_count:,} more" if hidden_count > 0 else ""
    resources_text = f"{len(addresses):,} resources: {', '.join(addresses[:_MAX_LISTED])}{more}."
    detail = f"{first_finding.detail}\n{resources_text}" if first_finding.detail else resources_text
    # The position of one of them would be misleading.
    return first_finding.with_changes(detail=detail, address=None, position=None)


def _merge_backend(similar_findings: Sequence[Diagnostic]) -> Diagnostic:
    """One finding for a fact of the backend, with the number of resources: `... (3 plugins).`."""
    kinds = Counter(
        address.partition("/")[0]
        for address in {str(finding.address) for finding in similar_findings}
    )
    counts = ", ".join(
        f"{count:,} {kind}{'s' if count != 1 else ''}" for kind, count in sorted(kinds.items())
    )
    detail = f"{similar_findings[0].detail.rstrip('.')} ({counts})."
    return similar_findings[0].with_changes(detail=detail, address=None, position=None)


def _format_finding_block(finding: Diagnostic, style: Style) -> list[str]:
    word = finding.severity.value
    lines = [style(f"{word.title()}: ", word) + style(sanitize(finding.summary), "bold")]
    if location := finding_location(finding):
        lines.append(f"  {location}")
    lines += indent_lines(finding.detail)
    if finding.hint:
        first_line, *continuation = sanitize_plan_lines(finding.hint)
        lines += [f"  Hint: {first_line}", *(f"        {line}".rstrip() for line in continuation)]
    if request_id := finding.untold_request_id:
        lines.append("  " + style(f"Request id: {sanitize(request_id)}", "dim"))
    return lines


def indent_lines(text: str, indent: int = 2) -> list[str]:
    """The sanitized, indented lines of a text; none for an empty text."""
    return [f"{' ' * indent}{line}".rstrip() for line in sanitize_plan_lines(text)] if text else []


def finding_location(finding: Diagnostic) -> str:
    """Where a finding is: `on FILE:LINE:COLUMN, with ADDRESS, ...`, as far as known."""
    facts = {
        "on": finding.position and format_position(finding.position),
        "with": finding.address and sanitize(finding.address),
        "field": finding.path and format_quoted_path(finding.path),
        "target": finding.target and sanitize(finding.target),
        "rule": finding.rule and sanitize(finding.rule),
    }
    return ", ".join(f"{word} {fact}" for word, fact in facts.items() if fact)


def finding_place(finding: Diagnostic) -> str:
    """As `finding_location`, without the word before it."""
    return finding_location(finding).removeprefix("on ").removeprefix("with ")


def format_position(position: Position) -> str:
    """`FILE:LINE:COLUMN`, sanitized; editors and terminals make it clickable."""
    return sanitize(position)


def format_quoted_path(path: FieldPath) -> str:
    """A field's path as text, such as `spec.configuration.region`; odd keys are quoted."""
    return format_field_path(path, quote_key)


def format_refusal_rows(change: Change, style: Style, field_lines: Sequence[str] = ()) -> list[str]:
    """The `!` rows of one change; `field_lines` show the fields that were wanted."""
    lines: list[str] = []
    subject = style(f"{sanitize(change.address)} {format_refusal_phrase(change.action)}", "bold")
    for index, refusal in enumerate(change.refusals):
        first_line, *continuation = sanitize_plan_lines(refusal.reason)
        lines += [
            f"  {style.format_symbol_and_space('!')}{subject}: {first_line}",
            *(f"      {line}".rstrip() for line in continuation),
            *(field_lines if index == 0 else ()),
            *_ways_out(change, refusal, style),
        ]
    return lines


def _ways_out(change: Change, refusal: Refusal, style: Style) -> list[str]:
    position = refusal.position or change.position
    lines = [f"      {style(f'on {format_position(position)}', 'dim')}"] if position else []
    lead = "      Way out: "
    if len(refusal.ways_out) > 1:
        lead = "        * "
        lines.append("      Ways out:")
    for way_out in refusal.ways_out:
        first_line, *continuation = sanitize_plan_lines(way_out)
        lines += [lead + first_line, *(" " * len(lead) + line for line in continuation)]
    return lines


def format_refused_count(count: int) -> str:
    """The line before `Plan:` that counts refused changes, so that none is overlooked."""
    return f"Refused: {count:,} (see ! rows)."
