"""What a plan comes to: its tasks, the ports they work through, the objects they begin with."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from synapse_apply.applying.task import Task, Tools
from synapse_apply.applying.uploading import WatchedPackages
from synapse_apply.model.address import Address
from synapse_apply.model.observed import Observed
from synapse_apply.model.plan import Change
from synapse_apply.model.ports import Progress
from synapse_apply.model.values import Reference
from synapse_apply.planning.along import carried
from synapse_apply.session.context import Context, Planned
from synapse_apply.session.intents import build_marks
from synapse_apply.session.prepare import kept
from synapse_apply.session.unrecorded import Aside, folders


def tools_of(context: Context, planned: Planned, progress: Progress) -> Tools:
    """The ports of a target that tasks work through."""
    plan = planned.plan
    records = {at: one.record for at, one in planned.items.items() if one.record is not None}
    return Tools(
        api=context.api,
        store=context.store,
        secrets=context.secrets,
        packages=WatchedPackages(context.packages, progress, context.clock),
        clock=context.clock,
        progress=progress,
        marks=build_marks(context, records),
        actor=context.actor,
        plan_id=plan.id,
        request_id=context.request_id,
        capabilities=planned.capabilities,
        longest_call=context.longest_call,
        settle_after=context.target.settle_after,
        pause=context.pause,
        uptime=context.uptime,
        target=context.target.name,
        sign=context.signer.signed,
        keep_aside=Aside(
            folders(context.project),
            context.target.name,
            plan.base.lineage,
            plan.id,
            context.signer.keys,
        ).keep,
    )


def tasks_of(planned: Planned) -> list[Task]:
    """One task for each change that apply has something to do for, in the plan's order."""
    unkept = _unkept_by_kind(planned)
    tasks = {
        change.address: _task(planned, change, frozenset(unkept[change.address.kind]))
        for change in planned.plan.actionable
    }
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


def _unkept_by_kind(planned: Planned) -> dict[str, set[str]]:
    """What earlier runs have learned, and said, that the backend keeps of no object of a kind."""
    unkept: dict[str, set[str]] = defaultdict(set)
    for address, item in planned.items.items():
        if item.record is not None and item.record.api == item.binding.api:
            unkept[address.kind].update(item.record.unkept)
    return unkept


def _task(planned: Planned, change: Change, unkept: frozenset[str]) -> Task:
    item = planned.items[change.address]
    ignored = item.desired.lifecycle.ignore_changes if item.desired else ()
    return Task(
        change=change,
        type=item.type,
        binding=item.binding,
        after=change.depends_on,
        desired=item.desired,
        record=item.record,
        observed=item.sighting.observed,
        want=kept(item.want, ignored),
        salt=item.salt,
        natural_key=item.natural_key,
        unkept=unkept,
    )


def live_of(planned: Planned) -> dict[Address, Observed]:
    """The live objects a plan was made from, by address."""
    return {
        address: item.sighting.observed
        for address, item in planned.items.items()
        if item.sighting.observed is not None
    }
