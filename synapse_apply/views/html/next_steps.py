"""What a page tells its reader to do next: what stands in the way first, then the command."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from synapse_apply.model.plan import Action, Cause, Plan
from synapse_apply.model.report import Report, Result
from synapse_apply.views.grammar import plural
from synapse_apply.views.html.parts import code, command
from synapse_apply.views.outcomes import complete


def steps_of_plan(plan: Plan) -> tuple[str, ...]:
    """As HTML; none where there is nothing to do."""
    return tuple(_plan_steps(plan))


def _plan_steps(plan: Plan) -> Iterator[str]:
    target = quote(plan.base.target)
    again = command(f"synapse-apply plan -t {target}")
    if plan.errored:
        yield f'Mend <a href="#errors">the errors</a>, then plan again: {again}'
        return
    if plan.refused:
        rows = plural(len(plan.refused), "refused row")
        yield (
            f'Settle <a href="#refused">{rows}</a>: each has its ways out, and apply leaves it out '
            "until then."
        )
    if plan.guards:
        yield '<a href="#guards">A guard</a> stops the whole apply; let it pass if that is meant.'
    if any(field.cause in {Cause.DRIFT, Cause.BOTH} for c in plan.changes for field in c.fields):
        accept = command(f"synapse-apply drift --accept ADDRESS -t {target}")
        yield (
            "Apply would undo what was changed outside. To keep it, take the change into Git "
            f"first: {accept}"
        )
    if plan.base.offline and plan.has_changes:
        yield "No backend was asked. Merge the change, or plan with the backend: " + again
    elif plan.has_changes and not plan.guards and plan.applyable:
        adopts = any(c.action is Action.ADOPT and not c.refused for c in plan.changes)
        line = f"synapse-apply apply{' --adopt' if adopts else ''} -t {target}"
        yield f"Review the rows below, then apply: {command(line)}"


def steps_of_report(report: Report) -> tuple[str, ...]:
    """As HTML; none where all was done."""
    return () if complete(report) else tuple(_report_steps(report))


def _report_steps(report: Report) -> Iterator[str]:
    plan, target = report.plan, quote(report.plan.base.target)
    kept = sorted({one.unrecorded for one in report.outcomes if one.unrecorded})
    for file in kept:
        line = command(f"synapse-apply state recover FILE -t {target}")
        yield f"Record what could not be recorded: {line}, where FILE is {code(file)}"
    if report.count(Result.FAILED):
        yield 'Mend what <a href="#failed">failed</a>: each finding says why.'
    if any(not one.is_well for one in report.verified):
        yield 'Look at <a href="#verified">the runs</a> that did not end well.'
    if plan.refused:
        yield 'Settle what is <a href="#refused">refused</a>: each row has its ways out.'
    if report.count(Result.UNKNOWN):
        yield "What is unknown is looked up by the next run before it does anything else."
    if plan.actionable:
        again = command(f"synapse-apply apply -t {target}")
        yield f"Apply again for the rest; what is done is not done twice: {again}"
