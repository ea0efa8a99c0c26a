"""Use case: make it so. Everything is checked before the first call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from synapse_apply.applying.applier import Applier
from synapse_apply.applying.execute import CREATES
from synapse_apply.applying.executors import Serial, Threads
from synapse_apply.applying.task import Task, Tools
from synapse_apply.applying.uploading import WatchedPackages
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, error, lies_in
from synapse_apply.model.errors import InputError, Refused, SecretUnavailable, Stale
from synapse_apply.model.observed import Observed
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.ports import Progress
from synapse_apply.model.report import STALE_RULES, Report
from synapse_apply.model.values import SecretRef, leaves
from synapse_apply.session.context import Context, Planned
from synapse_apply.session.intents import close
from synapse_apply.session.prepare import kept
from synapse_apply.session.unrecorded import Aside, folders


def check(plan: Plan, *, all_or_nothing: bool = False) -> None:
    """Raise when this plan must not be applied: errors (exit 1), guards or refusals (exit 5)."""
    if plan.errored:
        raise InputError(
            *(finding for finding in plan.diagnostics if finding.is_error),
        )
    if plan.guards:
        raise Refused(*(error(guard.summary, guard.detail) for guard in plan.guards))
    if all_or_nothing and plan.refused:
        rules = {refusal.rule for change in plan.refused for refusal in change.refusals}
        kind = Stale if rules & STALE_RULES else Refused
        raise kind(
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
    once: bool = False,
) -> Report:
    """Carry a checked plan out under the state's lock, which the caller holds.

    `stop` gives the number of the signal that asks to end, 0 while there is none. `once` uses the
    plan's id up, before the first call. SecretUnavailable, with every finding, before that.
    """
    plan = planned.plan
    tasks = _tasks(planned)
    _check_secrets(context, tasks)
    if once and (tasks or plan.moved):
        context.store.mark_applied(plan.id)
    close(context, planned.settled, plan.id)
    if plan.moved:
        context.store.move({move.old: move.new for move in plan.moved})
    tools = Tools(
        api=context.api,
        store=context.store,
        secrets=context.secrets,
        packages=WatchedPackages(context.packages, progress, context.clock),
        clock=context.clock,
        progress=progress,
        marks=context.loaded.marks,
        actor=context.actor,
        plan_id=plan.id,
        request_id=context.request_id,
        capabilities=planned.capabilities,
        longest_call=context.longest_call,
        settle_after=context.target.settle_after,
        pause=context.pause,
        uptime=context.uptime,
        target=context.target.name,
        keep_aside=Aside(
            folders(context.project), context.target.name, plan.base.lineage, plan.id
        ).keep,
    )
    ours = context.store.still_ours
    applier = Applier(tasks, tools, _live(planned), lambda: bool(stop()) or not ours())
    with Serial() if context.parallelism == 1 else Threads(context.parallelism) as executor:
        outcomes = applier.run(executor)
    verified = applier.verified
    return Report(plan, outcomes, stopped=stop(), lock_lost=not ours(), verified=verified)


def _tasks(planned: Planned) -> list[Task]:
    """One task for each change that apply has something to do for, in the plan's order."""
    return [_task(planned, change) for change in planned.plan.actionable]


def _task(planned: Planned, change: Change) -> Task:
    item = planned.items[change.address]
    ignored = item.desired.lifecycle.ignore_changes if item.desired else ()
    return Task(
        change=change,
        type=item.type,
        binding=item.binding,
        after=() if change.action is Action.FORGET else change.depends_on,
        desired=item.desired,
        record=item.record,
        observed=item.sighting.observed,
        want=kept(item.want, ignored),
        salt=item.salt,
        natural_key=item.natural_key,
    )


def _check_secrets(context: Context, tasks: list[Task]) -> None:
    """Every secret that will be sent must resolve before anything is sent."""
    findings: list[Diagnostic] = []
    for task in tasks:
        for path, ref in _sent_secrets(task):
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


def _sent_secrets(task: Task) -> Iterator[tuple[tuple[str | int, ...], SecretRef]]:
    creates = task.change.action in CREATES
    if task.desired is None or not (creates or task.change.fields):
        return
    ignored = () if creates else task.desired.lifecycle.ignore_changes
    for path, value in leaves(task.desired.spec):
        if not isinstance(value, SecretRef) or lies_in(path, ignored):
            continue
        if creates or value.source != "live":
            yield path, value


def _live(planned: Planned) -> dict[Address, Observed]:
    """The live objects a plan was made from, by address."""
    return {
        address: item.sighting.observed
        for address, item in planned.items.items()
        if item.sighting.observed is not None
    }
