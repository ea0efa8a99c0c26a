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
from synapse_apply.model.aim import aimed_report
from synapse_apply.model.diagnostic import Diagnostic, error, lies_in
from synapse_apply.model.errors import InputError, Refused, SecretUnavailable, Stale
from synapse_apply.model.observed import Observed
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.ports import Progress
from synapse_apply.model.report import STALE_RULES, Report
from synapse_apply.model.values import Reference, SecretRef, leaves
from synapse_apply.planning.along import carried
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
    tasks = _tasks(planned)
    _check_secrets(context, tasks)
    if once and (tasks or plan.moved):
        context.store.mark_applied(plan.id)
    close(context, planned.settled, plan.id)
    if plan.moved:
        context.store.move({move.old: move.new for move in plan.moved})
    tools = replace(_tools(context, planned, progress), adopts=adopts)
    store = context.store

    def ends() -> str:
        if stop():
            return "the run was stopped"
        if not store.still_ours():
            return "the lock on the state was lost"
        return "the state could not be written" if store.broken() else ""

    applier = Applier(tasks, tools, _live(planned), ends)

    def work() -> None:
        with Serial() if context.parallelism == 1 else Threads(context.parallelism) as executor:
            applier.run(executor)

    until_cut(work)
    applier.close()
    lost = not store.still_ours()
    report = Report(plan, applier.outcomes, stop(), lost, verified=applier.verified)
    return aimed_report(report, context.aim)


def _tools(context: Context, planned: Planned, progress: Progress) -> Tools:
    plan = planned.plan
    return Tools(
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


def _tasks(planned: Planned) -> list[Task]:
    """One task for each change that apply has something to do for, in the plan's order."""
    tasks = {change.address: _task(planned, change) for change in planned.plan.actionable}
    for address, task in tasks.items():
        member = carried(task.change)
        if member is not None:
            tasks[member] = _keyed(tasks[member], task)
            tasks[address] = replace(task, carries=tasks[member])
    return list(tasks.values())


def _keyed(member: Task, owner: Task) -> Task:
    """A member that comes along with its owner: its key is made of what the owner will be."""
    if member.natural_key or member.desired is None or owner.desired is None:
        return member
    made = Observed("", owner.binding.api, owner.desired.spec)
    spec = member.desired.spec
    parents = {name: made for name, value in spec.items() if value == Reference(owner.address)}
    return replace(member, natural_key=member.type.natural_key(spec, parents))


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
    left = () if creates else task.left
    for path, value in leaves(task.desired.spec):
        if not isinstance(value, SecretRef) or lies_in(path, left):
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
