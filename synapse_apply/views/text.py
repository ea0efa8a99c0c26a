"""A plan as text, in Terraform's grammar, so that eyes and tools that know it read it."""

from __future__ import annotations

from synapse_apply.model.plan import Action, Base, Change, GuardTrip, Plan
from synapse_apply.model.trial import Trial
from synapse_apply.views.accepted import accepted_line
from synapse_apply.views.blocks import Blocks
from synapse_apply.views.findings import finding_blocks, indented, render_diagnostics
from synapse_apply.views.grammar import moved_lines, plan_line, plural, short_commit
from synapse_apply.views.outcomes import render_report
from synapse_apply.views.pen import Pen
from synapse_apply.views.refusals import refused_line
from synapse_apply.views.safety import clean, clean_url, disarm
from synapse_apply.views.verification import verify_line

__all__ = ["render_diagnostics", "render_plan", "render_report"]

_HEADER = "synapse-apply will perform the following actions:"
_OFFLINE = "If {} is what is live, synapse-apply will perform the following actions:"
_NOT_COMPARED = "What is declared, as if nothing of it were there yet:"
_ERRORED = "synapse-apply planned the following actions, but then met a problem:"
_NO_CHANGES = "No changes. Live state matches the configuration."
_NO_OTHER_CHANGES = "No changes. What was accepted aside, live state matches the configuration."
_EMPTY = "No changes. No resource is in this plan."
_HELD = "No changes. What was changed outside is kept (on_drift: hold)."
_NO_OFFLINE = "No changes. If {} is what is live, there is nothing to do."
_NONE_OF_THIS_PLAN = "No changes. What differs now is not in this plan."
# Off a terminal no line is ever broken; this only decides when `before -> after` takes two lines.
_WIDTH = 110


def render_plan(
    plan: Plan, *, color: bool, width: int | None = None, show_unchanged: bool = False
) -> str:
    """What apply would do, as text that ends with a newline.

    `width` is the terminal's, in cells, None off a terminal. `show_unchanged` also shows fields
    and resources that stay as they are.
    """
    pen = Pen(color)
    blocks = Blocks(pen, width or _WIDTH, show_unchanged=show_unchanged)
    parts = [*_actions(plan, blocks), *_dots(plan, blocks), *_refusals(plan, blocks)]
    if show_unchanged:
        parts.append("\n".join(blocks.unchanged(c) for c in plan.changes if _stays(c)))
    if any(parts) or plan.guards or plan.base.revision or plan.base.offline:
        parts.insert(0, target_line(plan.base, pen, plan.trial))
    parts.append(totals(plan, pen))
    parts += [_guard(guard, pen) for guard in plan.guards]
    parts += finding_blocks(plan.diagnostics, pen)
    return disarm("\n\n".join(part for part in parts if part) + "\n")


def _actions(plan: Plan, blocks: Blocks) -> list[str]:
    rows = [
        row
        for change in plan.changes
        for row in (
            *([blocks.action(change)] if acts(change) else []),
            *([blocks.run(change)] if change.verification and not change.refused else []),
        )
    ]
    moves = ["\n".join(moved_lines(plan.moved))] if plan.moved else []
    if not (rows or moves):
        return []
    return [_ERRORED if plan.errored else _header(plan.base), *moves, *rows]


def _header(base: Base) -> str:
    if not base.compared:
        return _NOT_COMPARED
    return _OFFLINE.format(clean(base.against)) if base.offline else _HEADER


def _dots(plan: Plan, blocks: Blocks) -> list[str]:
    lines: list[str] = []
    for change in plan.changes:
        if change.action is Action.FORGET and not change.refused:
            lines.append(blocks.forget(change))
        elif not acts(change):
            lines += blocks.notes(change)
    return ["\n".join(lines)] if lines else []


def _refusals(plan: Plan, blocks: Blocks) -> list[str]:
    return [blocks.refusal(change) for change in plan.refused]


def acts(change: Change) -> bool:
    """Whether a change has a block of its own, as what will be done."""
    quiet = change.action in {Action.NO_OP, Action.FORGET}
    return not (quiet or change.refused or change.superseded)


def _stays(change: Change) -> bool:
    return (change.action is Action.NO_OP or change.superseded) and not change.refused


def target_line(base: Base, pen: Pen, trial: Trial | None = None) -> str:
    """Which backend a plan is for, from which commit, and whether its calls were tried there."""
    where = clean_url(base.binding.url)
    facts = ["the embedded backend" if where == "embedded:" else where]
    if base.offline:
        commit = f"commit {short_commit(base.commit)} " if base.commit else ""
        return pen(f"Target {clean(base.target)}: {commit}{compared_with(base)}", "dim")
    if base.binding.tenant:
        facts.append(f"tenant {clean(base.binding.tenant)}")
    if base.revision:
        facts.append(f"manifests as of {clean(base.revision)}")
    elif base.commit:
        facts.append(f"commit {short_commit(base.commit)}")
    if trial is not None and trial.calls:
        facts.append(f"{trial.tried} of {plural(trial.calls, 'call')} tried there by a dry run")
    return pen(f"Target {clean(base.target)}: {', '.join(facts)}", "dim")


def compared_with(base: Base) -> str:
    """What a plan says of itself that asked nobody."""
    if not base.compared:
        return f"not compared with {clean(base.against)}; the backend was not asked"
    return f"against {clean(base.against)}; the backend was not asked"


def totals(plan: Plan, pen: Pen) -> str:
    """The lines that say what a plan comes to."""
    accepted = accepted_line(plan.with_accepted)
    return "\n".join([_sum_up(plan, pen), *([pen(accepted, "bold")] if accepted else [])])


def _sum_up(plan: Plan, pen: Pen) -> str:
    if plan.errored:
        count = plural(sum(finding.is_error for finding in plan.diagnostics), "error")
        return pen(f"Plan incomplete: {count}. It cannot be applied.", "bold")
    if not (plan.has_changes or plan.refused):
        if plan.base.offline:
            return pen(_NO_OFFLINE.format(clean(plan.base.against)), "done")
        if not plan.changes:  # nothing is declared, or all of it is left out
            return pen(_EMPTY, "done")
        left_out = any("left_out" in change.extras for change in plan.changes)
        matches = _NO_OTHER_CHANGES if plan.with_accepted else _NO_CHANGES
        held = _HELD if any(change.held for change in plan.changes) else matches
        return pen(_NONE_OF_THIS_PLAN if left_out else held, "done")
    refused = [refused_line(len(plan.refused), pen)] if plan.refused else []
    if not plan.base.compared:
        said = f"Not compared with {clean(plan.base.against)}: all that is declared counts as new."
        refused.insert(0, pen(said, "bold"))
    return "\n".join([*refused, *verify_line(plan, pen), pen(plan_line(plan.summary), "bold")])


def _guard(guard: GuardTrip, pen: Pen) -> str:
    head = pen("Warning: ", "warning") + pen(f"Apply will stop: {clean(guard.summary)}", "bold")
    name = f"--override-guard {clean(guard.name)}"
    hint = [] if name in guard.detail else [f"  Hint: if this is meant, apply with {name}"]
    return "\n".join([head, *indented(guard.detail), *hint])
