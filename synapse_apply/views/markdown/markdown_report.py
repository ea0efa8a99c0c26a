"""Which sections the Markdown of a plan, apply, drift or findings has, within a size budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from synapse_apply.model.command import Command
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Action, Change, Plan, PlanBase
from synapse_apply.model.report import Drift, Outcome, Report, Result
from synapse_apply.views.grammar import format_plan_line
from synapse_apply.views.markdown import report_sections
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
    format_cut_code_span,
    format_hidden_marker,
    format_link,
)
from synapse_apply.views.text.accepted import name_accepted
from synapse_apply.views.text.drift import (
    format_drift_totals,
    iter_ways_out_of_drift,
    join_natural_keys,
    unapplied_line,
    unmanaged_line,
    unread_lines,
)
from synapse_apply.views.text.findings import merge_findings
from synapse_apply.views.text.outcomes import is_shown_outcome, outcome_findings, totals_and_steps
from synapse_apply.views.text.plan import format_plan_totals as plan_totals
from synapse_apply.views.text.plan import format_target_line, is_object_change_to_make
from synapse_apply.views.text.style import Style

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
    plan_parts = report_sections.PlanParts.from_unrefused_changes(
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
            report_sections.planned_run_entries(plan.changes_to_verify),
        ),
        *_section("Moved", plan.moved, report_sections.iter_moved_entries(plan.moved)),
        *_section(
            "Forgotten",
            plan_parts.forgotten_changes,
            report_sections.iter_forget_entries(plan_parts.forgotten_changes),
        ),
        *_section(
            "Notes",
            [n for c in passive_changes for n in c.notes],
            report_sections.iter_note_entries(passive_changes),
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
    run_entries = report_sections.ended_run_entries(report, budget)
    sections = [
        *_next_step_section(total_lines[headline_end:]),
        *_outcome_section("Outcome unknown", by_result[Result.UNKNOWN]),
        *_outcome_section("Failed", by_result[Result.FAILED]),
        *_section("Verification", report.verification_results, run_entries),
        *_iter_problem_sections(report.plan, budget, with_guards=False),
        *_section(
            "Skipped",
            skipped_outcomes,
            report_sections.iter_outcome_entries(skipped_outcomes, with_findings=False),
        ),
        *_section(
            "Moved", report.plan.moved, report_sections.iter_moved_entries(report.plan.moved)
        ),
        *_section(
            "Done",
            done_outcomes,
            report_sections.iter_outcome_entries(done_outcomes, with_findings=False),
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
    blocks = SizedSection(
        opening, report_sections.diffs_of_drift(drifted_objects, budget), len(drifted_objects)
    )
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
        yield from _section(
            "Apply will stop", plan.guards, report_sections.iter_guard_entries(plan.guards)
        )
        yield from _finding_section(
            "Errors", [finding for finding in plan.diagnostics if finding.is_error]
        )
    refused_changes = plan.refused_changes
    if refused_changes:  # entries may end with HTML, which ends at an empty line (CommonMark 4.6)
        opening = f"### Refused ({len(refused_changes):,})"
        yield SizedSection(
            opening,
            report_sections.iter_refusal_entries(refused_changes, budget),
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
    return [SizedSection(opening, report_sections.diffs_of_changes(changes, budget), len(changes))]


def _section(title: str, items: Sequence[object], lines: Iterable[str]) -> list[SizedSection]:
    count = len(items)
    return [SizedSection(f"### {title} ({count:,})", lines, count, separator="\n")] if items else []


def _finding_section(title: str, findings: Sequence[Diagnostic]) -> list[SizedSection]:
    # Merged before counting, so that the heading counts what is shown.
    merged_findings = merge_findings(findings)
    return _section(title, merged_findings, report_sections.iter_finding_entries(merged_findings))


def _next_step_section(step_lines: Sequence[str]) -> list[SizedSection]:
    steps = (f"- {cut_and_escape_but_code(line)}" for line in step_lines)
    return (
        [SizedSection("### What to do now", steps, len(step_lines), separator="\n")]
        if step_lines
        else []
    )


def _outcome_section(title: str, outcomes: Sequence[Outcome]) -> list[SizedSection]:
    return _section(
        title, outcomes, report_sections.iter_outcome_entries(outcomes, with_findings=True)
    )


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
