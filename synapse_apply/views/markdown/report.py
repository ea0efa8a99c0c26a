"""How the Markdown of a plan, apply, drift or findings looks: its heading, and each entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.job import RunStatus, Verification, VerificationResult
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Action, Change, GuardViolation, Plan
from synapse_apply.model.project import MovedAddress
from synapse_apply.model.report import Drift, ObjectDrift, Outcome, Report, Result, Unmanaged
from synapse_apply.views.grammar import (
    ACTION_SYMBOLS,
    PLANNED_PHRASES,
    format_plan_line,
    format_refusal_phrase,
)
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
from synapse_apply.views.sections import (
    Kind,
    Section,
    bare_note,
    drift_sections,
    finding_sections,
    forget_reason,
    plan_sections,
    report_sections,
)
from synapse_apply.views.text.drift import (
    format_drift_totals,
    join_natural_keys,
    render_object_drift,
    say_what_drifted,
    unapplied_line,
    unmanaged_line,
    unread_lines,
)
from synapse_apply.views.text.findings import finding_place, format_position, merge_findings
from synapse_apply.views.text.outcomes import (
    format_outcome_row,
    format_run_row,
    outcome_findings,
    split_into_cut_log_lines,
    totals_and_steps,
)
from synapse_apply.views.text.plan import (
    ChangeRenderer,
    format_plan_totals,
    format_target_line,
    name_accepted,
)
from synapse_apply.views.text.terminal import DiffStyle, Style, margin_lines

_PLAIN = Style(color=False)
_DEFAULT_WIDTH = 110
_MAX_PROSE_LENGTH = 2000  # of a detail or a hint
_BLOCKS = ChangeRenderer(DiffStyle(), _DEFAULT_WIDTH, show_unchanged=False)


def render_plan_markdown(
    plan: Plan, *, budget: SizeBudget = COMMENT_BUDGET, run_url: str = "", command: str = "plan"
) -> str:
    """The Markdown of a plan: counts and obstacles first, then a block for each resource.

    Its marker makes it replace the comment of the `command` that ended with this plan.
    What does not fit `budget` is counted, and `run_url` is named as the place that has all of it.
    """
    base = plan.base
    failure_prefix = "" if command == "plan" else f"{command.capitalize()} failed: "
    title = f"## {failure_prefix}Plan for {_name(base.target)}"
    if base.is_offline:
        relation = "against" if base.compared else "not compared with"
        title += f" {relation} {_name(base.against)}; the backend was not asked"
    heading = [
        _marker(base.target, "" if command == "plan" else command),
        title,
        *map(_bold, _counts(plan)),
        _long_line(format_target_line(base, _PLAIN, plan.trial)),
    ]
    see_command = Command("plan", target=base.target[:MAX_NAME_LENGTH])
    footer = _footer_builder(see_command, run_url, f"Plan {format_cut_code_span(plan.id)}")
    sections = _sized_sections(plan_sections(plan), budget)
    return fit_sections_to_budget("\n\n".join(heading), sections, footer, budget)


def render_report_markdown(
    report: Report, *, budget: SizeBudget = COMMENT_BUDGET, run_url: str = ""
) -> str:
    """The Markdown of an apply: counts and what went wrong first, what was done last."""
    base, plan_id = report.plan.base, report.plan.id
    refused_count = len(report.plan.refused_changes)
    # Without the line on refused changes, which are counted in the headline below.
    lines = totals_and_steps(report, _PLAIN).splitlines()[1 if refused_count else 0 :]
    # Lines up to `Apply ...` are counts; those behind it say what to do, in a section of their own.
    end = 1 + next((index for index, line in enumerate(lines) if line.startswith("Apply ")), 0)
    totals_text = " ".join(lines[:end])
    if refused_count:
        totals_text = f"Refused: {refused_count}. {totals_text}"
    heading = [
        _marker(base.target, "apply"),
        f"## Apply for {_name(base.target)}",
        _bold(totals_text),
        _long_line(format_target_line(base, _PLAIN)),
    ]
    steps = [f"- {cut_and_escape_but_code(line)}" for line in lines[end:]]
    sections = _sized_sections(report_sections(report), budget)
    if steps:
        sections.insert(0, SizedSection("### What to do now", steps, len(steps), separator="\n"))
    see_command = Command("state history show", plan_id, target=base.target[:MAX_NAME_LENGTH])
    footer = _footer_builder(see_command, run_url, f"Plan {format_cut_code_span(plan_id)}")
    return fit_sections_to_budget("\n\n".join(heading), sections, footer, budget)


def render_drift_markdown(
    drift: Drift, *, budget: SizeBudget = COMMENT_BUDGET, run_url: str = ""
) -> str:
    """The Markdown of a drift check: counts first, then errors, then a block for each object."""
    target = drift.base.target
    lines = []
    if drift.unmanaged is not None:
        lines += [unmanaged_line(drift), *unread_lines(drift)]
    lines += [unapplied_line(drift)] if drift.pending_addresses else []
    lines += [line] if (line := name_accepted(drift.changes_with_accepted)) else []
    heading = [
        _marker(target, "drift"),
        f"## Drift of {_name(target)}",
        _bold(format_drift_totals(drift)),
        *map(cut_and_escape_but_code, lines),
        _long_line(format_target_line(drift.base, _PLAIN)),
    ]
    footer = _footer_builder(Command("drift", target=target[:MAX_NAME_LENGTH]), run_url)
    sections = _sized_sections(drift_sections(drift), budget)
    return fit_sections_to_budget("\n\n".join(heading), sections, footer, budget)


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
    error_count = sum(finding.is_error for finding in findings)
    name = f" for {_name(target)}" if target else ""
    outcome_text = "failed" if error_count else "found nothing wrong"
    heading = [
        # The command is part of the marker, so that `validate` does not replace the comment of
        # `plan`.
        _marker(target, "" if command == "plan" else command),
        f"## {command.capitalize()} {outcome_text}{name}",
        _bold(f"{format_count_and_noun(error_count, 'error')}."),
    ]
    footer = _footer_builder(Command(command, target=target[:MAX_NAME_LENGTH]), run_url)
    sections = _sized_sections(finding_sections(findings), budget)
    return fit_sections_to_budget("\n\n".join(heading), sections, footer, budget)


def _counts(plan: Plan) -> list[str]:
    """The lines of counts; refused changes are on the `Plan:` line, so that it stays the first."""
    if plan.refused_changes and not plan.has_errors:
        line = name_accepted(plan.changes_with_accepted)
        return [
            f"Refused: {len(plan.refused_changes)}. {format_plan_line(plan.summary)}",
            *([line] if line else []),
        ]
    return format_plan_totals(plan, _PLAIN).split("\n")


def _marker(target: str, command: str) -> str:
    name = f"target={encode_marker_name(target)}"
    return format_hidden_marker(f"{name} {command}" if command else name)


def _name(text: str) -> str:
    return format_cut_code_span(text, MAX_NAME_LENGTH)


def _bold(text: str) -> str:
    return f"**{cut_and_escape_but_code(text)}**"


def _long_line(text: str) -> str:
    return cut_and_escape_but_code(text, 2 * MAX_NAME_LENGTH)


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
        facts_text = ", ".join([*facts, *([run] if run and not hidden_count else [])])
        return " ".join(
            part for part in (hidden_note, f"<sub>{facts_text}</sub>" if facts_text else "") if part
        )

    return format_footer


def _sized_sections(sections: Iterable[Section], budget: SizeBudget) -> list[SizedSection]:
    """The sections that have items, whose entries are made when they are asked for."""
    sized = []
    for section in sections:
        # Merged before counting, so that the heading counts what is shown.
        is_finding = section.kind is Kind.FINDING
        items = merge_findings(section.items) if is_finding else section.items
        if items:
            opening = f"### {section.title} ({len(items):,})"
            intro = " ".join(map(cut_and_escape_but_code, section.intro))
            sized.append(
                SizedSection(
                    f"{opening}\n\n{intro}" if intro else opening,
                    map(_ENTRIES[section.kind], items, repeat(budget)),
                    len(items),
                    separator="\n\n" if section.kind in _BLOCK_KINDS else "\n",
                )
            )
    return sized


def _change_entry(change: Change, budget: SizeBudget) -> str:
    """A collapsible diff, cut at a line where it is too long."""
    # Where nothing of the object changes, it gets no symbol.
    adopts_as_is = change.action is Action.ADOPT and not change.fields
    symbol = "" if adopts_as_is else ACTION_SYMBOLS[change.action]
    name = format_cut_html_code(f"{symbol} {change.address}".strip())
    field_count_text = (
        f" ({format_count_and_noun(len(change.fields), 'field')})"
        if change.action in {Action.UPDATE, Action.ADOPT} and change.fields
        else ""
    )
    summary = f"{name} {PLANNED_PHRASES[change.action]}{field_count_text}"
    return _collapsible_diff(summary, _BLOCKS.render_change_block(change), budget)


def _drift_entry(object_drift: ObjectDrift, budget: SizeBudget) -> str:
    block = render_object_drift(object_drift, DiffStyle(), _DEFAULT_WIDTH)
    return _collapsible_diff(format_cut_html_code(say_what_drifted(object_drift)), block, budget)


def _collapsible_diff(summary: str, block: str, budget: SizeBudget) -> str:
    """A block that was rendered with a DiffStyle as a collapsible diff; `summary` is HTML."""
    return _collapsible(summary, list(margin_lines(block)), "diff", budget)


def _collapsible(summary: str, lines: list[str], info: str, budget: SizeBudget) -> str:
    """Lines in a collapsible block: the first that fit, then one that counts the rest."""
    room = budget.limit // 4  # so that a single resource does not crowd out all others
    for count, line in enumerate(lines):
        # A longer line is shortened to some thousand characters by the block around it.
        room -= min(budget.measure(line), 4500) + 1
        if room < 0:
            lines = [*lines[:count], f"# ({len(lines) - count} more lines not shown here)"]
            break
    return format_collapsible(summary, format_cut_fenced_block(lines, info))


def _move_entry(move: MovedAddress, _budget: SizeBudget) -> str:
    return f"- {format_cut_code_span(move.old)} has moved to {format_cut_code_span(move.new)}"


def _forget_entry(change: Change, _budget: SizeBudget) -> str:
    reason_text = cut_and_escape_but_code(forget_reason(change))
    return f"- {format_cut_code_span(change.address)}: {reason_text}; the object itself stays"


def _refusal_entry(change: Change, budget: SizeBudget) -> str:
    """Reasons, ways out, and the fields that were wanted."""
    lines: list[str] = []
    subject = f"**{format_cut_code_span(change.address)} {format_refusal_phrase(change.action)}**"
    for refusal in change.refusals:
        position = refusal.position or change.position
        place = f" ({format_cut_code_span(format_position(position))})" if position else ""
        lines.append(f"- {subject}: {cut_and_escape_but_code(refusal.reason)}{place}")
        # An empty list item (a lone `-`) would make the line above it a heading.
        ways_out = filter(None, map(cut_and_escape_but_code, refusal.ways_out))
        lines += [f"  - {way_out}" for way_out in ways_out]
    if wanted_lines := _BLOCKS.refused_fields(change):
        lines += ["", _collapsible_diff("What was wanted", "\n".join(wanted_lines), budget)]
    return "\n".join(lines)


def _guard_entry(guard: GuardViolation, _budget: SizeBudget) -> str:
    option = format_cut_code_span(guard.untold_option)
    hint = f" If this is meant, apply with {option}." if option else ""
    detail = f" {_sentence(guard.detail)}" if guard.detail else ""
    return f"- **{_sentence(guard.summary)}**{detail}{hint}"


def _note_entry(item: tuple[Change, int], _budget: SizeBudget) -> str:
    change, index = item
    note_text = cut_and_escape_but_code(bare_note(change, index))
    return f"- {format_cut_code_span(change.address)}: {note_text}"


def _finding_entry(finding: Diagnostic, _budget: SizeBudget) -> str:
    """One paragraph: summary, detail, hint, location, request id."""
    parts = [f"- **{_sentence(finding.summary)}**"]
    parts += [_sentence(finding.detail)] if finding.detail else []
    parts += [f"*Hint:* {_sentence(finding.hint)}"] if finding.hint else []
    if place := finding_place(finding):
        parts.append(f"({format_cut_code_span(place)})")
    if request_id := finding.untold_request_id:
        parts.append(f"Request id {format_cut_code_span(request_id)}.")
    return " ".join(parts)


def _sentence(text: str) -> str:
    end = "" if text.rstrip().endswith((".", "?", "!", ":")) else "."
    return f"{cut_and_escape_but_code(text, _MAX_PROSE_LENGTH)}{end}"


def _due_run_entry(item: tuple[Address, Verification], _budget: SizeBudget) -> str:
    address, run = item
    reason = cut_and_escape_but_code(run.reason)
    return f"- {format_cut_code_span(address)} will be verified: {reason}"


def _run_entry(result: VerificationResult, budget: SizeBudget) -> str:
    """The result of a run, with its findings and the last lines of its job's log."""
    lines = [f"- {format_cut_code_span(format_run_row(result, _PLAIN).strip())}"]
    if result.status is not RunStatus.SKIPPED:
        lines += [f"  {_finding_entry(finding, budget)}" for finding in result.diagnostics]
    if result.logs:
        log_lines = split_into_cut_log_lines(result.logs)
        # Markdown after a tag is HTML until an empty line (CommonMark 4.6).
        lines += ["", _collapsible("The last lines of its log", log_lines, "text", budget), ""]
    return "\n".join(lines)


def _outcome_entry(item: tuple[Outcome, Change | None], budget: SizeBudget) -> str:
    """The outcome of a change, with the findings of one that is not done below it."""
    outcome, _ = item
    lines = [f"- {format_cut_code_span(format_outcome_row(outcome, _PLAIN).strip())}"]
    if outcome.result in {Result.FAILED, Result.UNKNOWN}:
        lines += [f"  {_finding_entry(finding, budget)}" for finding in outcome_findings([outcome])]
    return "\n".join(lines)


def _unmanaged_entry(unmanaged: Unmanaged, _budget: SizeBudget) -> str:
    texts = (unmanaged.kind, unmanaged.remote_id, join_natural_keys(unmanaged))
    return f"- {' '.join(map(format_cut_code_span, texts))}"


_ENTRIES: Mapping[Kind, Callable[[Any, SizeBudget], str]] = {
    Kind.GUARD: _guard_entry,
    Kind.FINDING: _finding_entry,
    Kind.REFUSAL: _refusal_entry,
    Kind.CHANGE: _change_entry,
    Kind.DUE_RUN: _due_run_entry,
    Kind.MOVE: _move_entry,
    Kind.FORGET: _forget_entry,
    Kind.NOTE: _note_entry,
    Kind.OUTCOME: _outcome_entry,
    Kind.RUN: _run_entry,
    Kind.DRIFT: _drift_entry,
    Kind.UNMANAGED: _unmanaged_entry,
}
# Their entries may end with HTML, which ends at an empty line (CommonMark 4.6).
_BLOCK_KINDS = frozenset({Kind.CHANGE, Kind.DRIFT, Kind.REFUSAL})
