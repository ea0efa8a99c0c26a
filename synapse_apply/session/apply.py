"""Use case: make it so. Everything is checked before the first call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from synapse_apply.applying.applier import Applier
from synapse_apply.applying.body import sent_secrets
from synapse_apply.applying.executors import Serial, Threads
from synapse_apply.applying.task import Task
from synapse_apply.model.aim import aimed_report
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import (
    InputError,
    Refused,
    SecretUnavailable,
    Stale,
    SynapseApplyError,
)
from synapse_apply.model.plan import Plan
from synapse_apply.model.ports import Progress
from synapse_apply.model.report import STALE_RULES, Report
from synapse_apply.session.context import Context, Planned
from synapse_apply.session.intents import close
from synapse_apply.session.tasks import live_of, tasks_of, tools_of


def check(plan: Plan, *, all_or_nothing: bool = False) -> None:
    """Raise when this plan must not be applied: errors (exit 1), guards or refusals (exit 5)."""
    if (problem := _obstacle(plan, all_or_nothing)) is not None:
        problem.plan = plan
        raise problem


def _obstacle(plan: Plan, all_or_nothing: bool) -> SynapseApplyError | None:
    if plan.errored:
        return InputError(*(finding for finding in plan.diagnostics if finding.is_error))
    if plan.guards:
        return Refused(*(error(guard.summary, guard.detail) for guard in plan.guards))
    if not (all_or_nothing and plan.refused):
        return None
    rules = {refusal.rule for change in plan.refused for refusal in change.refusals}
    kind = Stale if rules & STALE_RULES else Refused
    return kind(
        error(
            "Nothing was applied: some rows are refused",
            f"{len(plan.refused)} refused (see ! rows) and --all-or-nothing was given.",
            "Settle the refused rows, or apply the rest without --all-or-nothing.",
        )
    )


def apply(
    context: Context,
    planned: Planned,
    progress: Progress,
    stop: Callable[[], int] = lambda: 0,
    *,
    until_cut: Callable[[Callable[[], None]], None] = lambda work: work(),
    once: bool = False,
    adopts: bool = False,
) -> Report:
    """Carry a checked plan out under the state's lock, which the caller holds.

    `stop` gives the number of the signal that asks to end, 0 while there is none. `until_cut` does
    the work and may come back before its end, when nobody wants to wait for it: what was under way
    is unknown then. `once` uses the plan's id up, before the first call. `adopts`: a create
    that meets an object which is as declared takes it over. SecretUnavailable, with every finding,
    before that.
    """
    plan = planned.plan
    tasks = tasks_of(planned)
    _check_secrets(context, tasks)
    if once and (tasks or plan.moved):
        context.store.mark_applied(plan.id)
    close(context, planned.settled, plan.id)
    if plan.moved:
        _move(context, plan)
    tools = replace(tools_of(context, planned, progress), adopts=adopts)
    store = context.store

    def ends() -> str:
        if stop():
            return "the run was stopped"
        if not store.still_ours():
            return "the lock on the state was lost"
        return "the state could not be written" if store.broken() else ""

    applier = Applier(tasks, tools, live_of(planned), ends)

    def work() -> None:
        with Serial() if context.parallelism == 1 else Threads(context.parallelism) as executor:
            applier.run(executor)

    until_cut(work)
    applier.close()
    lost = not store.still_ours()
    report = Report(plan, applier.outcomes, stop(), lost, verified=applier.verified)
    return aimed_report(report, context.aim)


def _move(context: Context, plan: Plan) -> None:
    renames = {move.old: move.new for move in plan.moved}
    context.store.move(renames, context.signer.moved)
    at, actor = context.clock.now(), context.actor
    context.store.note(
        *(
            actor.deed(move.old, f"move to {move.new}", at=at, plan_id=plan.id)
            for move in plan.moved
        )
    )


def _check_secrets(context: Context, tasks: list[Task]) -> None:
    """Every secret that will be sent must resolve before anything is sent."""
    findings: list[Diagnostic] = []
    for task in tasks:
        for path, ref in sent_secrets(task):
            try:
                context.secrets.resolve(ref)
            except SecretUnavailable as missing:
                place = task.desired.place(path) if task.desired else None
                findings.extend(
                    replace(finding, address=str(task.address), position=place)
                    for finding in missing.diagnostics
                )
    if findings:
        raise SecretUnavailable(*findings)
