"""How a plan is shown as text, in Terraform's format, which people and tools know."""

from __future__ import annotations

from synapse_apply.model.packages import KEPT_KEY
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Action, Change, GuardViolation, Plan, PlanBase
from synapse_apply.model.remote import DryRunCounts
from synapse_apply.views.grammar import (
    format_moved_lines,
    format_plan_line,
    shorten_commit_and_suffix,
)
from synapse_apply.views.sanitize import escape_ci_commands, sanitize, sanitize_url
from synapse_apply.views.text.accepted import name_accepted
from synapse_apply.views.text.findings import finding_blocks, indent_lines, render_diagnostics
from synapse_apply.views.text.outcomes import render_report
from synapse_apply.views.text.plan_rows import ChangeRenderer
from synapse_apply.views.text.refusals import format_refused_count
from synapse_apply.views.text.style import Style
from synapse_apply.views.text.verification import format_planned_run_counts

__all__ = ["render_diagnostics", "render_plan", "render_report"]

_HEADER = "synapse-apply will perform the following actions:"
_OFFLINE_HEADER = "If {} is what is live, synapse-apply will perform the following actions:"
_NOT_COMPARED_HEADER = "What is declared, as if nothing of it were there yet:"
_INCOMPLETE_HEADER = "synapse-apply planned the following actions, but then met a problem:"
_NO_CHANGES = "No changes. Live state matches the configuration."
_NO_OTHER_CHANGES = (
    "No changes. Apart from accepted differences, live state matches the configuration."
)
_EMPTY_PLAN = "No changes. No resource is in this plan."
_ONLY_KEPT_DRIFT = "No changes. What was changed outside is kept (on_drift: hold)."
_ONLY_KEPT_UNTOLD = "No changes. What differs from the manifests is kept (on_drift: hold)."
_NO_OFFLINE_CHANGES = "No changes. If {} is what is live, there is nothing to do."
_CHANGES_LEFT_OUT = "No changes. What differs now is not in this plan."
# Without a terminal no line is wrapped; this only decides when `before -> after` takes two lines.
_DEFAULT_WIDTH = 110


def render_plan(
    plan: Plan, *, color: bool, width: int | None = None, show_unchanged: bool = False
) -> str:
    """The text of a plan, ending with a newline.

    `width` is the terminal's in cells, None without one. `show_unchanged` also shows fields and
    resources that stay as they are.
    """
    style = Style(color)
    blocks = ChangeRenderer(style, width or _DEFAULT_WIDTH, show_unchanged=show_unchanged)
    lines: list[str] = []
    for change in plan.changes:
        if change.action is Action.FORGET and not change.is_refused:
            lines.append(blocks.render_forget_row(change))
        elif not is_object_change_to_make(change):
            lines += blocks.render_notes(change)
    parts = [
        *_header_and_blocks(plan, blocks),
        *(["\n".join(lines)] if lines else []),
        *map(blocks.render_refusals, plan.refused_changes),
    ]
    if show_unchanged:
        parts.append(
            "\n".join(
                blocks.unchanged_line(c)
                for c in plan.changes
                if (c.action is Action.NO_OP or c.superseded) and not c.is_refused
            )
        )
    # An empty plan needs no target line: the message below says it all.
    if any(parts) or plan.guards or plan.base.revision or plan.base.is_offline:
        parts.insert(0, format_target_line(plan.base, style, plan.trial))
    parts.append(format_plan_totals(plan, style))
    parts += [_format_guard(guard, style) for guard in plan.guards]
    parts += finding_blocks(plan.diagnostics, style)
    return escape_ci_commands("\n\n".join(part for part in parts if part) + "\n")


def _header_and_blocks(plan: Plan, blocks: ChangeRenderer) -> list[str]:
    rows = [
        row
        for change in plan.changes
        for row in (
            *([blocks.render_change_block(change)] if is_object_change_to_make(change) else []),
            *([blocks.render_run(change)] if change.verification and not change.is_refused else []),
        )
    ]
    moves = ["\n".join(format_moved_lines(plan.moved))] if plan.moved else []
    if not (rows or moves):
        return []
    return [_INCOMPLETE_HEADER if plan.has_errors else _choose_header(plan.base), *moves, *rows]


def _choose_header(base: PlanBase) -> str:
    if not base.compared:
        return _NOT_COMPARED_HEADER
    return _OFFLINE_HEADER.format(sanitize(base.against)) if base.is_offline else _HEADER


def is_object_change_to_make(change: Change) -> bool:
    """Whether a change has a block of its own: it is made, and neither refused nor superseded."""
    is_passive = change.action in {Action.NO_OP, Action.FORGET}
    return not (is_passive or change.is_refused or change.superseded)


def format_target_line(base: PlanBase, style: Style, dry_run: DryRunCounts | None = None) -> str:
    """The line with a plan's target, backend, commit, and how many calls a dry run tried."""
    url = sanitize_url(base.binding.url)
    facts = ["the embedded backend" if url == "embedded:" else url]
    if base.is_offline:
        commit = f"commit {shorten_commit_and_suffix(base.commit)} " if base.commit else ""
        return style(f"Target {sanitize(base.target)}: {commit}{describe_comparison(base)}", "dim")
    if base.binding.tenant:
        facts.append(f"tenant {sanitize(base.binding.tenant)}")
    if base.revision:
        facts.append(f"manifests as of {sanitize(base.revision)}")
    elif base.commit:
        facts.append(f"commit {shorten_commit_and_suffix(base.commit)}")
    if dry_run is not None and dry_run.total_calls:
        facts.append(
            f"{dry_run.tried} of {format_count_and_noun(dry_run.total_calls, 'call')} checked "
            "there by a dry run"
        )
    return style(f"Target {sanitize(base.target)}: {', '.join(facts)}", "dim")


def describe_comparison(base: PlanBase) -> str:
    """What an offline plan was compared with, as a phrase."""
    if not base.compared:
        return f"not compared with {sanitize(base.against)}; the backend was not asked"
    return f"against {sanitize(base.against)}; the backend was not asked"


def format_plan_totals(plan: Plan, style: Style) -> str:
    """The lines of counts of a plan, or that there are no changes."""
    accepted_text = name_accepted(plan.changes_with_accepted)
    return "\n".join(
        [_totals(plan, style), *([style(accepted_text, "bold")] if accepted_text else [])]
    )


def _totals(plan: Plan, style: Style) -> str:
    # Counts of an incomplete plan would be wrong.
    if plan.has_errors:
        count = format_count_and_noun(
            sum(finding.is_error for finding in plan.diagnostics), "error"
        )
        return style(f"Plan incomplete: {count}. It cannot be applied.", "bold")
    if not (plan.has_changes or plan.refused_changes):
        if plan.base.is_offline:
            return style(_NO_OFFLINE_CHANGES.format(sanitize(plan.base.against)), "done")
        if not plan.changes:  # nothing is declared, or all of it is left out
            return style(_EMPTY_PLAN, "done")
        has_left_out = any("left_out" in change.extras for change in plan.changes)
        no_changes_text = _NO_OTHER_CHANGES if plan.changes_with_accepted else _NO_CHANGES
        kept = [field.origin for change in plan.changes for field in change.held]
        kept += [str(c.extras[KEPT_KEY]) for c in plan.changes if KEPT_KEY in c.extras]
        # Of some it cannot be told who set them.
        kept_text = _ONLY_KEPT_UNTOLD if any(kept) else _ONLY_KEPT_DRIFT
        conclusion = kept_text if kept else no_changes_text
        return style(_CHANGES_LEFT_OUT if has_left_out else conclusion, "done")
    lead_lines = (
        [format_refused_count(len(plan.refused_changes), style)] if plan.refused_changes else []
    )
    if not plan.base.compared:
        note = (
            f"Not compared with {sanitize(plan.base.against)}: all that is declared counts as new."
        )
        lead_lines.insert(0, style(note, "bold"))
    return "\n".join(
        [
            *lead_lines,
            *format_planned_run_counts(plan, style),
            style(format_plan_line(plan.summary), "bold"),
        ]
    )


def _format_guard(guard: GuardViolation, style: Style) -> str:
    head = style("Warning: ", "warning") + style(
        f"Apply will stop: {sanitize(guard.summary)}", "bold"
    )
    name = f"--override-guard {sanitize(guard.name)}"
    hint_lines = [] if name in guard.detail else [f"  Hint: if this is meant, apply with {name}"]
    return "\n".join([head, *indent_lines(guard.detail), *hint_lines])
