"""Use case: take what is live as agreed: applied becomes desired, seen becomes observed."""

from __future__ import annotations

from uuid import uuid4

from synapse_apply.applying.records import agreed
from synapse_apply.applying.task import Task
from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.state import Record
from synapse_apply.session.context import Context, Planned
from synapse_apply.session.prepare import kept


def accept(context: Context, planned: Planned, address: Address) -> Record:
    """Record declared and live as agreed, whatever differs; nothing is sent.

    For a change made in the product that this API cannot make. InputError when the address is not
    declared, StateError when it is not recorded or not live. Takes the state's lock.
    """
    item = planned.items.get(address)
    if item is None or item.desired is None:
        raise InputError.of(
            "The address is not declared",
            f"No manifest declares {address}.",
            "Declare it as it is live, then accept it.",
        )
    change = next(change for change in planned.plan.changes if change.address == address)
    if item.record is None or item.sighting.observed is None:
        failure = StateError.of(
            "There is nothing to accept",
            f"{address} is {'not live' if item.record else 'not recorded'}.",
            f"`synapse-apply import {address} ID` records a live object.",
        )
        raise StateError(*failure.diagnostics)
    task = Task(
        change=change,
        type=item.type,
        binding=item.binding,
        desired=item.desired,
        record=item.record,
        observed=item.sighting.observed,
        want=kept(item.want, item.desired.lifecycle.ignore_changes),
        salt=item.salt,
        natural_key=item.natural_key,
    )
    with context.lock("state accept"):
        record = agreed(
            task, item.record, item.sighting.observed, context.secrets, context.clock.now()
        )
        context.store.put(record)
        at, run = context.clock.now(), str(uuid4())
        context.store.note(
            context.actor.deed(address, "accept", at=at, plan_id=run, remote_id=record.remote_id)
        )
    return record
