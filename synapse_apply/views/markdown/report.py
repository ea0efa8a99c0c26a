"""Which sections the Markdown of a plan, apply, drift or findings has, and how each entry looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from synapse_apply.model.command import Command
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import (
    Action,
    Cause,
    Change,
    FieldChange,
    GuardViolation,
    Plan,
    PlanBase,
)
from synapse_apply.model.project import MovedAddress
from synapse_apply.model.report import Drift, ObjectDrift, Outcome, Report, Result
from synapse_apply.model.verification import RunStatus
from synapse_apply.views.grammar import (
    ACTION_SYMBOLS,
    PLANNED_PHRASES,
    format_plan_line,
    format_refusal_phrase,
)
from synapse_apply.views.json.redaction import hide_sensitive, sorted_json
from synapse_apply.views.markdown.budget import (
    COMMENT_BUDGET,
    SizeBudget,
    SizedSection,
    fit_sections_to_budget,
)
from synapse_apply.views.markdown.markup import (
    MAX_NAME_LENGTH,
    cut_and_escape_but_code,
    encode_marker_name,
    format_collapsible,
    format_cut_code_span,
    format_cut_fenced_block,
    format_cut_html_code,
    format_hidden_marker,
    format_link,
)
from synapse_apply.views.text.drift import (
    format_drift_totals,
    iter_ways_out_of_drift,
    join_natural_keys,
    render_object_drift,
    say_what_drifted,
    unapplied_line,
    unmanaged_line,
    unread_lines,
)
from synapse_apply.views.text.findings import finding_location, format_position, merge_findings
from synapse_apply.views.text.outcomes import (
    format_outcome_row,
    format_run_rows,
    is_shown_outcome,
    outcome_findings,
    split_into_cut_log_lines,
    totals_and_steps,
)
from synapse_apply.views.text.plan import (
    ChangeRenderer,
    format_target_line,
    is_object_change_to_make,
    name_accepted,
)
from synapse_apply.views.text.plan import format_plan_totals as plan_totals
from synapse_apply.views.text.terminal import DiffStyle, Style, margin_lines

_PLAIN = Style(color=False)
_DRIFT_INTRO = (
    "Somebody or something changed these outside of Git. Apply restores the declared values."
)
_ADOPTED_INTRO = "These exist already and were not recorded."


def render_plan_markdown(
    plan: Plan, *, budget: SizeBudget = COMMENT_BUDGET, run_url: str = "", command: str = "plan"
) -> str:
    """The Markdown of a plan: counts and obstacles first, then a block for each resource.

    Its marker makes it replace the comment of the `command` that ended with this plan.
    What does not fit `budget` is counted, and `run_url` is named as the place that has all of it.
    """
    plan_parts = PlanParts.from_unrefused_changes(
        c for c in plan.changes if is_object_change_to_make(c) or _is_forgotten(c)
    )
    blocks = _change_section("This change", plan_parts.own_changes, "", budget)
    blocks += _change_section(
        "Drift, not from this change", plan_parts.drift_changes, _DRIFT_INTRO, budget
    )
    blocks += _change_section("Adopted", plan_parts.adopted_changes, _ADOPTED_INTRO, budget)
    passive_changes = [
        c for c in plan.changes if not (is_object_change_to_make(c) or _is_forgotten(c))
    ]
    sections = [
        *_iter_problem_sections(plan, budget),
        *blocks,
        *_section(
            "To be verified",
            plan.changes_to_verify,
            planned_run_entries(plan.changes_to_verify),
        ),
        *_section("Moved", plan.moved, iter_moved_entries(plan.moved)),
        *_section(
            "Forgotten",
            plan_parts.forgotten_changes,
            iter_forget_entries(plan_parts.forgotten_changes),
        ),
        *_section(
            "Notes",
            [n for c in passive_changes for n in c.notes],
            iter_note_entries(passive_changes),
        ),
        *_finding_section("Warnings", [f for f in plan.diagnostics if not f.is_error]),
    ]
    heading = _format_plan_heading(plan, command)
    see_command = Command("plan", target=plan.base.target[:MAX_NAME_LENGTH])
    return fit_sections_to_budget(
        heading,
        sections,
        _footer_builder(see_command, run_url, f"Plan {format_cut_code_span(plan.id)}"),
        budget,
    )


def _format_plan_heading(plan: Plan, command: str) -> str:
    """The comment's marker, a title, the counts, and the line of target and commit."""
    failure_prefix = "" if command == "plan" else f"{command.capitalize()} failed: "
    title = f"## {failure_prefix}Plan for {format_cut_code_span(plan.base.target, MAX_NAME_LENGTH)}"
    if plan.base.is_offline:
        relation = "against" if plan.base.compared else "not compared with"
        title += (
            f" {relation} {format_cut_code_span(plan.base.against, MAX_NAME_LENGTH)}; the "
            f"backend was not asked"
        )
    facts = cut_and_escape_but_code(
        format_target_line(plan.base, _PLAIN, plan.trial), 2 * MAX_NAME_LENGTH
    )
    kind = "" if command == "plan" else command
    return "\n\n".join(
        [_format_comment_marker(plan.base, kind), title, *map(_bold, _counts(plan)), facts]
    )


def render_report_markdown(
    report: Report, *, budget: SizeBudget = COMMENT_BUDGET, run_url: str = ""
) -> str:
    """The Markdown of an apply: counts and what went wrong first, what was done last."""
    by_result = {result: [o for o in report.outcomes if o.result is result] for result in Result}
    done_outcomes, skipped_outcomes = (
        [outcome for outcome in by_result[result] if is_shown_outcome(outcome)]
        for result in (Result.DONE, Result.SKIPPED)
    )
    # Without the line on refused changes, which are counted in the headline below.
    first_shown = 1 if report.plan.refused_changes else 0
    total_lines = totals_and_steps(report, _PLAIN).splitlines()[first_shown:]
    done_findings = outcome_findings(by_result[Result.DONE])
    warnings = [f for f in (*report.plan.diagnostics, *done_findings) if not f.is_error]
    # Lines up to `Apply ...` are counts; those behind it say what to do, in a section of their own.
    headline_end = 1 + next(
        (index for index, line in enumerate(total_lines) if line.startswith("Apply ")), 0
    )
    run_entries = ended_run_entries(report, budget)
    sections = [
        *_next_step_section(total_lines[headline_end:]),
        *_outcome_section("Outcome unknown", by_result[Result.UNKNOWN]),
        *_outcome_section("Failed", by_result[Result.FAILED]),
        *_section("Verification", report.verification_results, run_entries),
        *_iter_problem_sections(report.plan, budget, with_guards=False),
        *_section(
            "Skipped",
            skipped_outcomes,
            iter_outcome_entries(skipped_outcomes, with_findings=False),
        ),
        *_section("Moved", report.plan.moved, iter_moved_entries(report.plan.moved)),
        *_section(
            "Done",
            done_outcomes,
            iter_outcome_entries(done_outcomes, with_findings=False),
        ),
        *_finding_section("Warnings", warnings),
    ]
    base = report.plan.base
    totals_text = " ".join(total_lines[:headline_end])
    if report.plan.refused_changes:
        totals_text = f"Refused: {len(report.plan.refused_changes)}. {totals_text}"
    heading_parts = [
        _format_comment_marker(base, "apply"),
        f"## Apply for {format_cut_code_span(base.target, MAX_NAME_LENGTH)}",
        _bold(totals_text),
        cut_and_escape_but_code(format_target_line(base, _PLAIN), 2 * MAX_NAME_LENGTH),
    ]
    see_command = Command(
        "state history show", report.plan.id, target=base.target[:MAX_NAME_LENGTH]
    )
    footer = _footer_builder(see_command, run_url, f"Plan {format_cut_code_span(report.plan.id)}")
    return fit_sections_to_budget(
        "\n\n".join(part for part in heading_parts if part), sections, footer, budget
    )


def render_drift_markdown(
    drift: Drift, *, budget: SizeBudget = COMMENT_BUDGET, run_url: str = ""
) -> str:
    """The Markdown of a drift check: counts first, then errors, then a block for each object."""
    unmanaged_objects = drift.unmanaged or ()
    rows = (
        f"- {format_cut_code_span(unmanaged.kind)} {format_cut_code_span(unmanaged.remote_id)} "
        f"{format_cut_code_span(join_natural_keys(unmanaged))}"
        for unmanaged in unmanaged_objects
    )
    drifted_objects = drift.objects
    intro = " ".join(map(cut_and_escape_but_code, iter_ways_out_of_drift(drift)))
    heading = "Not as recorded" if drift.has_origin else "Changed outside"
    opening = f"### {heading} ({len(drifted_objects):,})\n\n{intro}"
    blocks = SizedSection(opening, diffs_of_drift(drifted_objects, budget), len(drifted_objects))
    sections = [
        *_finding_section("Errors", [finding for finding in drift.diagnostics if finding.is_error]),
        *([blocks] if drifted_objects else []),
        *_section("Unmanaged", unmanaged_objects, rows),
        *_finding_section(
            "Warnings", [finding for finding in drift.diagnostics if not finding.is_error]
        ),
    ]
    heading_parts = [
        _format_comment_marker(drift.base, "drift"),
        f"## Drift of {format_cut_code_span(drift.base.target, MAX_NAME_LENGTH)}",
    ]
    heading_parts += [_bold(format_drift_totals(drift))]
    if drift.unmanaged is not None:
        heading_parts += [
            cut_and_escape_but_code(unmanaged_line(drift)),
            *map(cut_and_escape_but_code, unread_lines(drift)),
        ]
    heading_parts += (
        [cut_and_escape_but_code(unapplied_line(drift))] if drift.pending_addresses else []
    )
    heading_parts += (
        [cut_and_escape_but_code(line)]
        if (line := name_accepted(drift.changes_with_accepted))
        else []
    )
    heading_parts += [
        cut_and_escape_but_code(format_target_line(drift.base, _PLAIN), 2 * MAX_NAME_LENGTH)
    ]
    see_command = Command("drift", target=drift.base.target[:MAX_NAME_LENGTH])
    return fit_sections_to_budget(
        "\n\n".join(heading_parts), sections, _footer_builder(see_command, run_url), budget
    )


def render_findings_markdown(
    findings: Sequence[Diagnostic],
    command: str,
    *,
    target: str,
    budget: SizeBudget = COMMENT_BUDGET,
    run_url: str = "",
) -> str:
    """The Markdown of findings without a plan: those that ended a command, or those of `validate`.

    Its marker makes it replace the command's own comment.
    """
    errors = [finding for finding in findings if finding.is_error]
    kind = "" if command == "plan" else f" {command}"
    name = f" for {format_cut_code_span(target, MAX_NAME_LENGTH)}" if target else ""
    outcome_text = "failed" if errors else "found nothing wrong"
    heading_parts = [
        # The command is part of the marker, so that `validate` does not replace the comment of
        # `plan`.
        format_hidden_marker(f"target={encode_marker_name(target)}{kind}"),
        f"## {command.capitalize()} {outcome_text}{name}",
    ]
    heading_parts += [_bold(f"{format_count_and_noun(len(errors), 'error')}.")]
    sections = [
        *_finding_section("Errors", errors),
        *_finding_section("Warnings", [finding for finding in findings if finding.is_warning]),
        *_finding_section("Notes", [finding for finding in findings if finding.is_note]),
    ]
    see_command = Command(command, target=target[:MAX_NAME_LENGTH])
    return fit_sections_to_budget(
        "\n\n".join(heading_parts), sections, _footer_builder(see_command, run_url), budget
    )


def _iter_problem_sections(
    plan: Plan, budget: SizeBudget, *, with_guards: bool = True
) -> Iterator[SizedSection]:
    if with_guards:
        yield from _section("Apply will stop", plan.guards, iter_guard_entries(plan.guards))
        yield from _finding_section(
            "Errors", [finding for finding in plan.diagnostics if finding.is_error]
        )
    refused_changes = plan.refused_changes
    if refused_changes:  # entries may end with HTML, which ends at an empty line (CommonMark 4.6)
        opening = f"### Refused ({len(refused_changes):,})"
        yield SizedSection(
            opening,
            iter_refusal_entries(refused_changes, budget),
            len(refused_changes),
        )


def _counts(plan: Plan) -> list[str]:
    """The lines of counts; refused changes are on the `Plan:` line, so that it stays the first."""
    if plan.refused_changes and not plan.has_errors:
        line = name_accepted(plan.changes_with_accepted)
        return [
            f"Refused: {len(plan.refused_changes)}. {format_plan_line(plan.summary)}",
            *([line] if line else []),
        ]
    return plan_totals(plan, _PLAIN).split("\n")


def _change_section(
    title: str, changes: Sequence[Change], intro: str, budget: SizeBudget
) -> list[SizedSection]:
    if not changes:
        return []
    opening = f"### {title} ({len(changes):,})" + (f"\n\n{intro}" if intro else "")
    return [SizedSection(opening, diffs_of_changes(changes, budget), len(changes))]


def _section(title: str, items: Sequence[object], lines: Iterable[str]) -> list[SizedSection]:
    count = len(items)
    return [SizedSection(f"### {title} ({count:,})", lines, count, separator="\n")] if items else []


def _finding_section(title: str, findings: Sequence[Diagnostic]) -> list[SizedSection]:
    # Merged before counting, so that the heading counts what is shown.
    merged_findings = merge_findings(findings)
    return _section(title, merged_findings, iter_finding_entries(merged_findings))


def _next_step_section(step_lines: Sequence[str]) -> list[SizedSection]:
    steps = (f"- {cut_and_escape_but_code(line)}" for line in step_lines)
    return (
        [SizedSection("### What to do now", steps, len(step_lines), separator="\n")]
        if step_lines
        else []
    )


def _outcome_section(title: str, outcomes: Sequence[Outcome]) -> list[SizedSection]:
    return _section(title, outcomes, iter_outcome_entries(outcomes, with_findings=True))


def _is_forgotten(change: Change) -> bool:
    return change.action is Action.FORGET and not change.is_refused


def _format_comment_marker(base: PlanBase, kind: str = "") -> str:
    return format_hidden_marker(
        f"target={encode_marker_name(base.target)}{f' {kind}' if kind else ''}"
    )


def _bold(text: str) -> str:
    return f"**{cut_and_escape_but_code(text)}**"


def _footer_builder(see_command: Command, run_url: str, *facts: str) -> Callable[[int], str]:
    """A function that builds the last line for a number of hidden entries.

    It has the facts, a link to the run, and for hidden entries the command that shows all.
    """
    run = format_link("this run", run_url) if run_url else ""

    def format_footer(hidden_count: int) -> str:
        see_text = format_cut_code_span(see_command.format_command_line())
        source_texts = " or ".join(part for part in (run, see_text) if part)
        hidden_note = (
            f"**{hidden_count:,} not shown here:** {source_texts} has all of it."
            if hidden_count
            else ""
        )
        facts_text = ", ".join(chain(facts, [run] if run and not hidden_count else []))
        return " ".join(
            part for part in (hidden_note, f"<sub>{facts_text}</sub>" if facts_text else "") if part
        )

    return format_footer


_DEFAULT_WIDTH = 110
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
