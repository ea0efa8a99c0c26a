"""Use case: take what is live as agreed: applied becomes desired, seen becomes observed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from uuid import uuid4

from synapse_apply.applying.acceptance import acceptance_of, before_acceptance
from synapse_apply.applying.records import agreed
from synapse_apply.applying.task import Task
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Observed
from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.model.state import Acceptance, Record
from synapse_apply.model.values import ABSENT
from synapse_apply.planning.fields import differences
from synapse_apply.planning.situation import Item
from synapse_apply.session.context import Context, Planned, StateContext
from synapse_apply.session.prepare import kept

OTHER_KEY = "recorded under another state key"


@frozen
class Acceptable:
    """A resource that can be accepted as it is live, and the fields in which it differs.

    `differing` lead from what is live to what is declared; `accepted` are those that were accepted
    before. `notes` tell what cannot be compared.
    """

    item: Item
    record: Record
    observed: Observed
    depends_on: tuple[Address, ...]
    differing: tuple[FieldChange, ...]
    accepted: tuple[FieldChange, ...]
    notes: tuple[str, ...]


def acceptable(planned: Planned, address: Address) -> Acceptable:
    """What accepting an address would settle; nothing is changed.

    InputError when the address is not declared, StateError when it is not recorded or not live.
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
    found = differences(item, item.record)
    foreign = (FieldChange(path, ABSENT, ABSENT, Cause.NONE, True, OTHER_KEY)
               for path in found.foreign)  # fmt: skip
    return Acceptable(
        item=item,
        record=item.record,
        observed=item.sighting.observed,
        depends_on=change.depends_on,
        differing=tuple(sorted((*found.changes, *foreign), key=lambda change: change.path)),
        accepted=tuple(found.accepted),
        notes=tuple(found.notes),
    )


def accept(context: Context, planned: Planned, chosen: Acceptable) -> Record:
    """Record declared and live as agreed, whatever differs; nothing is sent.

    For a change made in the product that this API cannot make. Takes the state's lock; StateError
    when the record is not the one that was looked at.
    """
    item, observed = chosen.item, chosen.observed
    change = next(change for change in planned.plan.changes if change.address == item.address)
    lifecycle = item.desired.lifecycle if item.desired else None
    task = Task(
        change=change,
        type=item.type,
        binding=item.binding,
        desired=item.desired,
        record=item.record,
        observed=observed,
        want=kept(item.want, lifecycle.ignore_changes if lifecycle else ()),
        salt=item.salt,
        natural_key=item.natural_key,
    )
    with context.lock("state accept"):
        if context.store.record(item.address) != chosen.record:
            raise _changed_meanwhile(item.address)
        record = agreed(task, chosen.record, observed, context.secrets, context.clock.now())
        record = replace(record, accepted=_acceptance(chosen))
        context.store.put(record)
        at, run = context.clock.now(), str(uuid4())
        deed = context.actor.deed(
            item.address, "accept", at=at, plan_id=run, remote_id=record.remote_id
        )
        context.store.note(deed)
    return record


def _acceptance(chosen: Acceptable) -> Acceptance | None:
    """What is accepted from now on; of a field accepted before, its undo stays the first one's."""
    record, paths = chosen.record, [change.path for change in chosen.differing]
    new = acceptance_of(paths, record.applied, record.seen)
    old = record.accepted
    if old is None:
        return new if paths else None
    still = _still_among(old.paths, (*chosen.differing, *chosen.accepted))
    if not (still or paths):
        return None
    before = acceptance_of(still, old.applied, old.seen)
    fresh = acceptance_of([path for path in paths if path not in still], new.applied, new.seen)
    return Acceptance(
        tuple(dict.fromkeys((*before.paths, *fresh.paths))),
        {**fresh.applied, **before.applied},
        {**fresh.seen, **before.seen},
    )


def _still_among(paths: Iterable[Path], changes: Iterable[FieldChange]) -> tuple[Path, ...]:
    differing = {change.path for change in changes}
    return tuple(path for path in paths if path in differing)


def undo(context: StateContext, address: Address) -> Acceptance:
    """Put back what was recorded before `address` was accepted; gives what was accepted.

    The next plan shows the differences again. StateError when nothing of it is accepted.
    """
    with context.lock("state accept"):
        record = context.store.record(address)
        if record is None or record.accepted is None:
            why = "is not recorded" if record is None else "has no accepted difference"
            failure = StateError.of(
                "There is nothing to undo",
                f"{address} {why}.",
                "`synapse-apply plan` tells the accepted differences of a target.",
            )
            raise StateError(*failure.diagnostics)
        context.store.put(replace(before_acceptance(record), updated_at=context.clock.now()))
        at, run = context.clock.now(), str(uuid4())
        deed = context.actor.deed(
            address, "undo accept", at=at, plan_id=run, remote_id=record.remote_id
        )
        context.store.note(deed)
    return record.accepted


def _changed_meanwhile(address: Address) -> StateError:
    failure = StateError.of(
        "The state has changed meanwhile",
        f"Another run recorded something else of {address} while you were asked.",
        "Run again: it shows what differs now.",
    )
    return StateError(*failure.diagnostics)
