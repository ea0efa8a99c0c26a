"""How each entry of a Markdown report looks: changes, refusals, guards, findings, outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Action, Cause, Change, FieldChange, GuardViolation
from synapse_apply.model.project import MovedAddress
from synapse_apply.model.report import ObjectDrift, Outcome, Report
from synapse_apply.model.verification import RunStatus
from synapse_apply.views.grammar import ACTION_SYMBOLS, PLANNED_PHRASES, format_refusal_phrase
from synapse_apply.views.json.redaction import hide_sensitive, sorted_json
from synapse_apply.views.markdown.budget import SizeBudget
from synapse_apply.views.markdown.markup import (
    cut_and_escape_but_code,
    format_collapsible,
    format_cut_code_span,
    format_cut_fenced_block,
    format_cut_html_code,
)
from synapse_apply.views.markdown.unified_diff import DiffStyle, margin_lines
from synapse_apply.views.text.drift import render_object_drift, say_what_drifted
from synapse_apply.views.text.findings import finding_location, format_position
from synapse_apply.views.text.outcomes import format_outcome_row, outcome_findings
from synapse_apply.views.text.plan_rows import ChangeRenderer
from synapse_apply.views.text.style import Style
from synapse_apply.views.text.verification import format_run_rows, split_into_cut_log_lines

_DEFAULT_WIDTH = 110
_PLAIN = Style(color=False)
# Fields with these causes were changed outside, so the apply undoes them.
_DRIFT_CAUSES = frozenset({Cause.DRIFT})
_MAX_PROSE_LENGTH = 2000  # of a detail or a hint
_ALSO_DRIFTED_NOTE = "also changed outside: see Drift"


@frozen
class PlanParts:
    """The changes of a plan by origin; an update is split, each field in one part."""

    own_changes: tuple[Change, ...]
    drift_changes: tuple[Change, ...]
    adopted_changes: tuple[Change, ...]
    forgotten_changes: tuple[Change, ...]

    @classmethod
    def from_unrefused_changes(cls, changes: Iterable[Change]) -> PlanParts:
        """Split changes by origin; the caller leaves out refused and superseded ones."""
        own_changes, drift_changes, adopted_changes, forgotten_changes = [], [], [], []
        for change in changes:
            if change.action is Action.ADOPT:
                adopted_changes.append(change)
            elif change.action is Action.FORGET:
                forgotten_changes.append(change)
            # The object was deleted outside, so its return is due to drift as well.
            elif change.action is Action.RECREATE:
                drift_changes.append(change)
            else:
                # Redacted before the split: a part keeps only the sensitive marks of its own
                # fields.
                fields = hide_sensitive(change)
                drifted_fields = [field for field in fields if field.cause in _DRIFT_CAUSES]
                own_fields = [field for field in fields if field.cause not in _DRIFT_CAUSES]
                if drifted_fields:
                    drift_changes.append(_with_some_fields(change, drifted_fields, own_fields))
                if own_fields or not drifted_fields:
                    own_changes.append(
                        _with_some_fields(change, own_fields, drifted_fields)
                        if drifted_fields
                        else change
                    )
        return cls(
            tuple(own_changes),
            tuple(drift_changes),
            tuple(adopted_changes),
            tuple(forgotten_changes),
        )


def _with_some_fields(
    change: Change, kept_fields: list[FieldChange], omitted_fields: list[FieldChange]
) -> Change:
    """A copy with some of the fields; the omitted ones do not count as unchanged either."""
    if not omitted_fields:
        return change
    omitted_paths = {field.path for field in omitted_fields}
    notes = (
        change.notes
        if kept_fields[0].cause in _DRIFT_CAUSES
        else (*change.notes, _ALSO_DRIFTED_NOTE)
    )
    return replace(
        change,
        fields=tuple(kept_fields),
        after=sorted_json(change.after or {}, omitted_paths),
        after_sensitive=tuple(path for path in change.after_sensitive if path not in omitted_paths),
        notes=notes,
    )


def diffs_of_changes(changes: Iterable[Change], budget: SizeBudget) -> Iterator[str]:
    """A collapsible diff for each change, cut at a line where it is too long."""
    blocks = ChangeRenderer(DiffStyle(), _DEFAULT_WIDTH, show_unchanged=False)
    for change in changes:
        # Nothing of the object changes, so it gets no symbol.
        adopts_as_is = change.action is Action.ADOPT and not change.fields
        symbol = "" if adopts_as_is else ACTION_SYMBOLS[change.action]
        name = format_cut_html_code(f"{symbol} {change.address}".strip())
        field_count_text = (
            f" ({format_count_and_noun(len(change.fields), 'field')})"
            if change.action in {Action.UPDATE, Action.ADOPT} and change.fields
            else ""
        )
        summary = f"{name} {PLANNED_PHRASES[change.action]}{field_count_text}"
        yield collapsible_diff(summary, blocks.render_change_block(change), budget)


def diffs_of_drift(objects: Iterable[ObjectDrift], budget: SizeBudget) -> Iterator[str]:
    """A collapsible diff for each drifted object."""
    for object_drift in objects:
        yield collapsible_diff(
            format_cut_html_code(say_what_drifted(object_drift)),
            render_object_drift(object_drift, DiffStyle(), _DEFAULT_WIDTH),
            budget,
        )


def collapsible_diff(summary: str, block: str, budget: SizeBudget) -> str:
    """A block that was rendered with a DiffStyle as a collapsible diff; `summary` is HTML."""
    lines = list(margin_lines(block))
    return format_collapsible(
        summary,
        format_cut_fenced_block(_cut_lines(lines, budget.max_size_of_one_entry, budget), "diff"),
    )


def _cut_lines(lines: list[str], room: int, budget: SizeBudget) -> list[str]:
    """The first lines that fit into `room`, then a line that counts the rest."""
    for count, line in enumerate(lines):
        # A longer line is shortened to some thousand characters by the block around it.
        room -= min(budget.measure(line), 4500) + 1
        if room < 0:
            return [*lines[:count], f"# ({len(lines) - count} more lines not shown here)"]
    return lines


def iter_moved_entries(moves: Iterable[MovedAddress]) -> Iterator[str]:
    """A line for each move."""
    for move in moves:
        yield (
            f"- {format_cut_code_span(str(move.old))} has moved to "
            f"{format_cut_code_span(str(move.new))}"
        )


def iter_forget_entries(changes: Iterable[Change]) -> Iterator[str]:
    """A line for each forgotten resource, whose object stays."""
    for change in changes:
        reason = "; ".join(change.notes) or change.reason or "no longer declared"
        reason_text = cut_and_escape_but_code(reason)
        yield f"- {format_cut_code_span(change.address)}: {reason_text}; the object itself stays"


def iter_refusal_entries(changes: Iterable[Change], budget: SizeBudget) -> Iterator[str]:
    """An item for each refused change: reasons, ways out, and the fields that were wanted."""
    blocks = ChangeRenderer(DiffStyle(), _DEFAULT_WIDTH, show_unchanged=False)
    for change in changes:
        lines: list[str] = []
        for refusal in change.refusals:
            position = refusal.position or change.position
            position_text = (
                f" ({format_cut_code_span(format_position(position))})" if position else ""
            )
            subject = (
                f"- **{format_cut_code_span(change.address)} "
                f"{format_refusal_phrase(change.action)}**"
            )
            lines.append(f"{subject}: {cut_and_escape_but_code(refusal.reason)}{position_text}")
            # An empty list item (a lone `-`) would make the line above it a heading.
            lines += [
                f"  - {way_text}"
                for way_out in refusal.ways_out
                if (way_text := cut_and_escape_but_code(way_out))
            ]
        if wanted_lines := blocks.refused_fields(change):
            rows = list(margin_lines("\n".join(wanted_lines)))
            shown_lines = _cut_lines(rows, budget.max_size_of_one_entry, budget)
            lines += [
                "",
                format_collapsible("What was wanted", format_cut_fenced_block(shown_lines, "diff")),
            ]
        yield "\n".join(lines)


def iter_guard_entries(guards: Iterable[GuardViolation]) -> Iterator[str]:
    """A line for each guard that would stop the apply."""
    for guard in guards:
        option = f"--override-guard {guard.name}"
        hint = (
            ""
            if option in guard.detail
            else f" If this is meant, apply with {format_cut_code_span(option)}."
        )
        detail = f" {_sentence(guard.detail)}" if guard.detail else ""
        yield f"- {_bold_sentence(guard.summary)}{detail}{hint}"


def iter_note_entries(changes: Iterable[Change]) -> Iterator[str]:
    """A line for each note of changes that are not made."""
    for change in changes:
        name = str(change.address)
        for note in change.notes:
            note_text = note.removeprefix(name).lstrip(" :")
            yield f"- {format_cut_code_span(name)}: {cut_and_escape_but_code(note_text)}"


def iter_finding_entries(findings: Iterable[Diagnostic]) -> Iterator[str]:
    """A line for each finding."""
    for finding in findings:
        yield f"- {format_finding_paragraph(finding)}"


def format_finding_paragraph(finding: Diagnostic) -> str:
    """A finding as one paragraph: summary, detail, hint, location, request id."""
    parts = [_bold_sentence(finding.summary)]
    parts += [_sentence(finding.detail)] if finding.detail else []
    parts += [f"*Hint:* {_sentence(finding.hint)}"] if finding.hint else []
    if location := finding_location(finding).removeprefix("on ").removeprefix("with "):
        parts.append(f"({format_cut_code_span(location)})")
    if finding.request_id and finding.request_id not in finding.detail:
        parts.append(f"Request id {format_cut_code_span(finding.request_id)}.")
    return " ".join(parts)


def _bold_sentence(summary: str) -> str:
    """A summary in bold, with a full stop."""
    return f"**{_sentence(summary)}**"


def _sentence(text: str) -> str:
    end = "" if text.rstrip().endswith((".", "?", "!", ":")) else "."
    return f"{cut_and_escape_but_code(text, _MAX_PROSE_LENGTH)}{end}"


def planned_run_entries(changes: Iterable[Change]) -> Iterator[str]:
    """A line for each verification run that apply will start or follow, with its reason."""
    for change in changes:
        if change.verification is not None:
            yield (
                f"- {format_cut_code_span(change.address)} will be verified: "
                f"{cut_and_escape_but_code(change.verification.reason)}"
            )


def ended_run_entries(report: Report, budget: SizeBudget) -> Iterator[str]:
    """A line for each verification run, with its findings and the last lines of its job's log."""
    for result in report.verification_results:
        row = "\n".join(
            format_run_rows(replace(report, outcomes=(), verification_results=(result,)), _PLAIN)
        )
        lines = [f"- {format_cut_code_span(row.strip())}"]
        if result.status is not RunStatus.SKIPPED:
            lines += [f"  - {format_finding_paragraph(finding)}" for finding in result.diagnostics]
        if result.logs:
            shown_lines = _cut_lines(
                split_into_cut_log_lines(result.logs), budget.max_size_of_one_entry, budget
            )
            # Markdown after a tag is HTML until an empty line (CommonMark 4.6).
            lines += [
                "",
                format_collapsible(
                    "The last lines of its log", format_cut_fenced_block(shown_lines, "text")
                ),
                "",
            ]
        yield "\n".join(lines)


def iter_outcome_entries(outcomes: Iterable[Outcome], *, with_findings: bool) -> Iterator[str]:
    """A line for each outcome, with its findings below it if asked for."""
    for outcome in outcomes:
        lines = [f"- {format_cut_code_span(format_outcome_row(outcome, _PLAIN).strip())}"]
        lines += (
            [f"  - {format_finding_paragraph(finding)}" for finding in outcome_findings([outcome])]
            if with_findings
            else []
        )
        yield "\n".join(lines)
