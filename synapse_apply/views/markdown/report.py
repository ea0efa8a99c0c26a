"""How the Markdown of a plan, apply, drift or findings looks: its heading, and each entry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

from synapse_apply.model.command import Command
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.job import RunStatus, VerificationResult
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.report import Drift, Report, Result
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
    code_span,
    collapsible,
    encode_marker_name,
    fenced_block,
    hidden_marker,
    html_code,
    link,
    prose,
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
from synapse_apply.views.text import drift as drifts
from synapse_apply.views.text import outcomes
from synapse_apply.views.text import plan as plans
from synapse_apply.views.text.findings import finding_place, format_position, merge_findings
from synapse_apply.views.text.terminal import DiffStyle, Style, margin_lines

_PLAIN = Style(color=False)
_MAX_PROSE_LENGTH = 2000  # of a detail or a hint
_BLOCKS = plans.ChangeRenderer(DiffStyle())


def render_plan_markdown(
    plan: Plan, *, budget: SizeBudget = COMMENT_BUDGET, run_url: str = "", command: str = "plan"
) -> str:
    """The Markdown of a plan: counts and obstacles first, then a block for each resource.

    Its marker makes it replace the comment of the `command` that ended with this plan.
    What does not fit `budget` is counted, and `run_url` is named as the place that has all of it.
    """
    base = plan.base
    failure_prefix = "" if command == "plan" else f"{command.capitalize()} failed: "
    title = f"{failure_prefix}Plan for {_name(base.target)}"
    if base.is_offline:
        relation = "against" if base.compared else "not compared with"
        title += f" {relation} {_name(base.against)}, without querying the backend"
    counts = plans.plan_totals(plan, _PLAIN).split("\n")
    if plan.refused_changes and not plan.has_errors:
        # Refused changes are on the `Plan:` line, so that it stays the first.
        counts = [f"Refused: {len(plan.refused_changes):,}. {format_plan_line(plan.summary)}"]
        counts += filter(None, [plans.name_accepted(plan.changes_with_accepted)])
    heading = [
        *_title(base.target, command, title),
        *map(_bold, counts),
        _long_line(plans.target_line(base, _PLAIN, plan.trial)),
    ]
    sections = _sized_sections(plan_sections(plan), budget)
    see = Command("plan", target=base.target[:MAX_NAME_LENGTH])
    return _fit(heading, sections, budget, see, run_url, plan.id, plans.next_apply(plan))


def render_report_markdown(
    report: Report, *, budget: SizeBudget = COMMENT_BUDGET, run_url: str = ""
) -> str:
    """The Markdown of an apply: counts and what went wrong first, what was done last."""
    base, plan_id = report.plan.base, report.plan.id
    refused_count = len(report.plan.refused_changes)
    # Without the line on refused changes, which are counted in the headline below.
    lines = outcomes.totals_and_steps(report, _PLAIN).splitlines()[1 if refused_count else 0 :]
    # Lines up to `Apply ...` are counts; those behind it say what to do, in a section of their own.
    end = 1 + next((index for index, line in enumerate(lines) if line.startswith("Apply ")), 0)
    refused = f"Refused: {refused_count:,}. " if refused_count else ""
    heading = [
        *_title(base.target, "apply", f"Apply for {_name(base.target)}"),
        _bold(refused + " ".join(lines[:end])),
        _long_line(plans.target_line(base, _PLAIN)),
    ]
    steps = [f"- {prose(line)}" for line in lines[end:]]
    sections = _sized_sections(report_sections(report), budget)
    if steps:
        sections.insert(0, SizedSection("### What to do next", steps, len(steps), "\n"))
    see = Command("state history show", plan_id, target=base.target[:MAX_NAME_LENGTH])
    return _fit(heading, sections, budget, see, run_url, plan_id)


def render_drift_markdown(
    drift: Drift, *, budget: SizeBudget = COMMENT_BUDGET, run_url: str = ""
) -> str:
    """The Markdown of a drift check: counts first, then errors, then a block for each object."""
    target = drift.base.target
    lines = []
    if drift.unmanaged is not None:
        lines += [drifts.unmanaged_line(drift), *drifts.unread_lines(drift)]
    lines += [drifts.unapplied_line(drift)] if drift.pending_addresses else []
    lines += filter(None, [plans.name_accepted(drift.changes_with_accepted)])
    heading = [
        *_title(target, "drift", f"Drift of {_name(target)}"),
        _bold(drifts.drift_totals(drift)),
        *map(prose, lines),
        _long_line(plans.target_line(drift.base, _PLAIN)),
    ]
    see = Command("drift", target=target[:MAX_NAME_LENGTH])
    return _fit(heading, _sized_sections(drift_sections(drift), budget), budget, see, run_url)


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
    outcome = "failed" if error_count else "found no errors"
    name = f" for {_name(target)}" if target else ""
    heading = [
        *_title(target, command, f"{command.capitalize()} {outcome}{name}"),
        _bold(f"{format_count_and_noun(error_count, 'error')}."),
    ]
    see = Command(command, target=target[:MAX_NAME_LENGTH])
    return _fit(heading, _sized_sections(finding_sections(findings), budget), budget, see, run_url)


def _title(target: str, command: str, title: str) -> tuple[str, str]:
    """The marker of a document, and its title as Markdown."""
    # The command is part of the marker, so that `validate` does not replace the comment of `plan`.
    suffix = "" if command == "plan" else f" {command}"
    return hidden_marker(f"target={encode_marker_name(target)}{suffix}"), f"## {title}"


def _name(text: str) -> str:
    return code_span(text, MAX_NAME_LENGTH)


def _bold(text: str) -> str:
    return f"**{prose(text)}**"


def _long_line(text: str) -> str:
    return prose(text, 2 * MAX_NAME_LENGTH)


def _fit(
    heading: Sequence[str],
    sections: Sequence[SizedSection],
    budget: SizeBudget,
    see: Command,
    run_url: str,
    plan_id: str = "",
    next_step: Command | None = None,
) -> str:
    """The document within its budget.

    Its last lines have the command that applies it, the plan, a link to the run, and for hidden
    entries the command that shows all.
    """
    apply = f"To apply: {code_span(next_step.format_command_line())}" if next_step else ""
    run = link("this run", run_url) if run_url else ""

    def footer(hidden_count: int) -> str:
        sources = " or ".join(filter(None, (run, code_span(see.format_command_line()))))
        note = f"**{hidden_count:,} not shown here:** {sources} shows everything."
        facts = [f"Plan {code_span(plan_id)}"] if plan_id else []
        facts += [run] if run and not hidden_count else []
        facts_text = f"<sub>{', '.join(facts)}</sub>" if facts else ""
        last_line = " ".join(filter(None, (note if hidden_count else "", facts_text)))
        return "\n\n".join(filter(None, (apply, last_line)))

    return fit_sections_to_budget("\n\n".join(heading), sections, footer, budget)


def _sized_sections(sections: Iterable[Section], budget: SizeBudget) -> list[SizedSection]:
    """The sections that have items, whose entries are made when they are asked for."""
    sized = []
    for section in sections:
        # Merged before counting, so that the heading counts what is shown.
        is_finding = section.kind is Kind.FINDING
        items = merge_findings(section.items) if is_finding else section.items
        if items:
            opening = f"### {section.title} ({len(items):,})"
            intro = " ".join(map(prose, section.intro))
            entries = map(_entry, repeat(section.kind), items, repeat(budget))
            separator = "\n\n" if section.kind in _BLOCK_KINDS else "\n"
            opening = f"{opening}\n\n{intro}" if intro else opening
            sized.append(SizedSection(opening, entries, len(items), separator))
    return sized


# Their entries may end with HTML, which ends at an empty line (CommonMark 4.6).
_BLOCK_KINDS = frozenset({Kind.CHANGE, Kind.DRIFT, Kind.REFUSAL})


def _entry(kind: Kind, item: Any, budget: SizeBudget) -> str:
    """An item of a section of this kind."""
    match kind:
        case Kind.CHANGE:
            return _change(item, budget)
        case Kind.REFUSAL:
            return _refusals(item, budget)
        case Kind.FINDING:
            return _finding(item)
        case Kind.RUN:
            return _run(item, budget)
        case Kind.DRIFT:
            block = drifts.object_block(item, _BLOCKS)
            return _diff(html_code(drifts.what_drifted(item)), block, budget)
        case Kind.GUARD:
            option = code_span(item.untold_option)
            hint = f" If you intend this, apply with {option}." if option else ""
            detail = f" {_sentence(item.detail)}" if item.detail else ""
            return f"- **{_sentence(item.summary)}**{detail}{hint}"
        case Kind.DUE_RUN:
            address, run = item
            return f"- {code_span(address)} will be verified: {prose(run.reason)}"
        case Kind.MOVE:
            return f"- {code_span(item.old)} has moved to {code_span(item.new)}"
        case Kind.FORGET:
            reason = prose(forget_reason(item))
            return f"- {code_span(item.address)}: {reason}; the live object stays"
        case Kind.NOTE:
            change, index = item
            return f"- {code_span(change.address)}: {prose(bare_note(change, index))}"
        case Kind.OUTCOME:
            outcome, _ = item
            # With the findings of one that is not done below it.
            is_bad = outcome.result in {Result.FAILED, Result.UNKNOWN}
            findings = outcomes.outcome_findings([outcome]) if is_bad else ()
            row = f"- {code_span(outcomes.outcome_row(outcome, _PLAIN).strip())}"
            return "\n".join([row, *(f"  {_finding(finding)}" for finding in findings)])
        case Kind.UNMANAGED:
            texts = (item.kind, item.remote_id, drifts.natural_keys(item))
            return f"- {' '.join(map(code_span, texts))}"


def _change(change: Change, budget: SizeBudget) -> str:
    """A collapsible diff, cut at a line where it is too long."""
    # Where nothing of the object changes, it gets no symbol.
    adopts_as_is = change.action is Action.ADOPT and not change.fields
    symbol = "" if adopts_as_is else ACTION_SYMBOLS[change.action]
    summary = f"{html_code(f'{symbol} {change.address}'.strip())} {PLANNED_PHRASES[change.action]}"
    if change.action in {Action.UPDATE, Action.ADOPT} and change.fields:
        summary += f" ({format_count_and_noun(len(change.fields), 'field')})"
    return _diff(summary, _BLOCKS.render_change_block(change), budget)


def _diff(summary: str, block: str, budget: SizeBudget) -> str:
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
    return collapsible(summary, fenced_block(lines, info))


def _refusals(change: Change, budget: SizeBudget) -> str:
    """Reasons, ways out, and the fields that were wanted."""
    lines: list[str] = []
    subject = f"**{code_span(change.address)} {format_refusal_phrase(change.action)}**"
    for refusal in change.refusals:
        position = refusal.position or change.position
        place = f" ({code_span(format_position(position))})" if position else ""
        lines.append(f"- {subject}: {prose(refusal.reason)}{place}")
        # An empty list item (a lone `-`) would make the line above it a heading.
        lines += [f"  - {way_out}" for way_out in filter(None, map(prose, refusal.ways_out))]
    if wanted_lines := _BLOCKS.refused_fields(change):
        lines += ["", _diff("Declared values", "\n".join(wanted_lines), budget)]
    return "\n".join(lines)


def _finding(finding: Diagnostic) -> str:
    """One paragraph: summary, detail, hint, location, request id."""
    parts = [f"- **{_sentence(finding.summary)}**"]
    parts += [_sentence(finding.detail)] if finding.detail else []
    parts += [f"*Hint:* {_sentence(finding.hint)}"] if finding.hint else []
    if place := finding_place(finding):
        parts.append(f"({code_span(place)})")
    if request_id := finding.untold_request_id:
        parts.append(f"Request id {code_span(request_id)}.")
    return " ".join(parts)


def _sentence(text: str) -> str:
    end = "" if text.rstrip().endswith((".", "?", "!", ":")) else "."
    return f"{prose(text, _MAX_PROSE_LENGTH)}{end}"


def _run(result: VerificationResult, budget: SizeBudget) -> str:
    """The result of a run, with its findings and the last lines of its job's log."""
    lines = [f"- {code_span(outcomes.run_row(result, _PLAIN).strip())}"]
    if result.status is not RunStatus.SKIPPED:
        lines += [f"  {_finding(finding)}" for finding in result.diagnostics]
    if result.logs:
        logged = outcomes.log_lines(result.logs)
        # Markdown after a tag is HTML until an empty line (CommonMark 4.6).
        lines += ["", _collapsible("Last lines of its log", logged, "text", budget), ""]
    return "\n".join(lines)
