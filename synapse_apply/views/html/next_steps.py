"""Which next steps a page lists: obstacles first, then the command to run."""

from __future__ import annotations

from collections.abc import Iterator

from synapse_apply.model.command import Command
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Action, Cause, Plan
from synapse_apply.model.report import Report, Result
from synapse_apply.views.html.parts import render_code, render_copyable_command
from synapse_apply.views.text.outcomes import is_wholly_done


def steps_after_plan(plan: Plan) -> tuple[str, ...]:
    """The next steps after a plan as HTML; none where there is nothing to do."""
    return tuple(_after_plan(plan))


def _after_plan(plan: Plan) -> Iterator[str]:
    target = plan.base.target
    plan_command = render_copyable_command(Command("plan", target=target).format_command_line())
    if plan.has_errors:
        yield f'Fix <a href="#errors">the errors</a>, then plan again: {plan_command}'
        return
    if plan.refused_changes:
        rows = format_count_and_noun(len(plan.refused_changes), "refused row")
        yield (
            f'Settle <a href="#refused">{rows}</a>: the ways out stand below; apply leaves '
            "it out until then."
        )
    if plan.guards:
        yield '<a href="#guards">A guard</a> stops the whole apply; let it pass if that is meant.'
    outside = {Cause.DRIFT, Cause.BOTH}
    if any(f.cause in outside and not f.origin for c in plan.changes for f in c.fields):
        accept_command = render_copyable_command(
            Command("drift --write ADDRESS", target=target).format_command_line()
        )
        yield (
            "Apply would undo what was changed outside. To keep it, take the change into Git "
            f"first: {accept_command}"
        )
    if plan.base.is_offline and plan.has_changes:
        yield "No backend was asked. Merge the change, or plan with the backend: " + plan_command
    elif plan.has_changes and not plan.guards and plan.is_applyable:
        adopts = any(c.action is Action.ADOPT and not c.is_refused for c in plan.changes)
        command = Command("apply --adopt" if adopts else "apply", target=target)
        yield (
            "Review the rows below, then apply: "
            f"{render_copyable_command(command.format_command_line())}"
        )


def steps_after_apply(report: Report) -> tuple[str, ...]:
    """The next steps after an apply as HTML; none where it is complete."""
    return () if is_wholly_done(report) else tuple(_after_apply(report))


def _after_apply(report: Report) -> Iterator[str]:
    plan, target = report.plan, report.plan.base.target
    recovery_files = sorted(
        {
            ended_result.recovery_file
            for ended_result in report.outcomes
            if ended_result.recovery_file
        }
    )
    for file in recovery_files:
        line = render_copyable_command(
            Command("state record FILE", target=target).format_command_line()
        )
        yield f"Record what could not be recorded: {line}, where FILE is {render_code(file)}"
    if report.count_outcomes(Result.FAILED):
        yield 'Mend what <a href="#failed">failed</a>: each finding says why.'
    if any(not ended_result.is_acceptable for ended_result in report.verification_results):
        yield 'Look at <a href="#verified">the runs</a> that did not succeed.'
    if plan.refused_changes:
        yield 'Resolve what is <a href="#refused">refused</a>: each row has its ways out.'
    if any(outcome.is_untellable for outcome in report.outcomes):
        yield "Settle by hand what this API cannot look up: its finding says how."
    if any(o.result is Result.UNKNOWN and not o.is_untellable for o in report.outcomes):
        yield "What is unknown is looked up by the next run before it does anything else."
    if plan.actionable_changes:
        apply_command = render_copyable_command(
            Command("apply", target=target).format_command_line()
        )
        yield f"Apply again for the rest; what is recorded as done is not repeated: {apply_command}"
