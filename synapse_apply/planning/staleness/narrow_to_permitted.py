"""Which changes of a plan are done where only some are permitted; no other is ever made."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection
from dataclasses import replace

from synapse_apply.model.address import Address
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.plan import Action, Change, GuardViolation, Plan
from synapse_apply.model.policy import RULE_ID_PREFIX
from synapse_apply.planning.create_companions import CARRIED_BY, find_companion_address
from synapse_apply.planning.staleness.narrow import (
    ACTION_OF_GUARD,
    build_left_out_row,
    is_shown_as_to_be_done,
    violated_guards,
)
from synapse_apply.planning.staleness.permitted_rows import PermittedRows

_NOT_PERMITTED = "it is not permitted now"


def list_decidable_changes(plan: Plan) -> tuple[Change, ...]:
    """The changes that somebody decides about, in the plan's order: what is asked for, or refused.

    A verification run whose job is known already is none: it is only followed.
    """
    return tuple(
        change
        for change in plan.changes
        if change.is_refused or (is_shown_as_to_be_done(change) and not _only_follows_job(change))
    )


def has_work_without_permission(plan: Plan) -> bool:
    """Whether a plan has something that sends no call.

    That is renames of addresses, records to be updated to what is so already, and runs to be
    followed. Plans that are stopped by an error or a guard have none, nor have offline plans.
    """
    if plan.has_errors or plan.guards or plan.base.is_offline:
        return False
    return bool(plan.moved) or any(
        change.action is Action.NO_OP
        and not change.is_refused
        and not change.superseded
        and (change.rebase or _only_follows_job(change))
        for change in plan.changes
    )


def list_needed_addresses(change: Change) -> tuple[Address, ...]:
    """The addresses without which a change is not made: dependencies, and the same call's other.

    A need that the plan leaves as it is does not prevent it.
    """
    owner = change.extras.get(CARRIED_BY)
    companions = {
        find_companion_address(change),
        Address.parse(owner) if isinstance(owner, str) else None,
    }
    return tuple(sorted({*change.depends_on, *filter(None, companions)}))


def list_counted_addresses(guard: GuardViolation, plan: Plan) -> tuple[Address, ...]:
    """The addresses that a guard counts, of which `limit` may be done; () if it judges them all."""
    if guard.rows:
        return guard.rows
    action = ACTION_OF_GUARD.get(guard.name)
    if action is None:
        return ()
    return tuple(
        change.address
        for change in plan.changes
        if change.action is action and is_shown_as_to_be_done(change)
    )


def narrow_to_permitted_rows(plan: Plan, permitted: PermittedRows, plan_id: str) -> Plan:
    """The plan, under another id, with the permitted changes alone; others are left as they are.

    A change is left out, with a note that says why, unless it is permitted and so is all that it
    needs of this plan: dependencies and the other object of its call. Refused ones stay refused.
    What sends no call (`has_work_without_permission`) stays. Guards are judged again by what is
    left; only `overridden_guards` pass, and never a policy's rule.
    """
    addresses_to_make = _changes_to_make(plan, permitted.addresses)
    left_out_or_refused = {
        change.address
        for change in plan.changes
        if (change.is_refused or is_shown_as_to_be_done(change))
        and change.address not in addresses_to_make
    }
    rows = [
        build_left_out_row(change, _explain_left_out(change, permitted, left_out_or_refused))
        if is_shown_as_to_be_done(change) and change.address not in addresses_to_make
        else change
        for change in plan.changes
    ]
    guards = tuple(
        guard
        for guard in violated_guards(plan.guards, rows)
        if guard.name not in permitted.overridden_guards or guard.name.startswith(RULE_ID_PREFIX)
    )
    return replace(plan, id=plan_id, changes=tuple(rows), guards=guards)


def _only_follows_job(change: Change) -> bool:
    """Whether all that is left of a change is the end of a run whose job is recorded."""
    run = change.verification
    return change.action is Action.NO_OP and run is not None and bool(run.job)


def _changes_to_make(plan: Plan, permitted: Collection[Address]) -> frozenset[Address]:
    """The addresses of all changes that are made: no other change of the plan is needed by them."""
    addresses_to_make = {
        change.address: change
        for change in plan.changes
        if is_shown_as_to_be_done(change)
        and (change.address in permitted or _only_follows_job(change))
    }
    dependents: dict[Address, list[Address]] = defaultdict(list)
    for address, change in addresses_to_make.items():
        for need in () if _only_follows_job(change) else list_needed_addresses(change):
            dependents[need].append(address)
    # What stays as it is prevents nothing.
    not_made = deque(
        change.address
        for change in plan.changes
        if change.address not in addresses_to_make
        and (change.is_refused or is_shown_as_to_be_done(change))
    )
    while not_made:
        for address in dependents.get(not_made.popleft(), ()):
            if addresses_to_make.pop(address, None) is not None:
                not_made.append(address)
    return frozenset(addresses_to_make)


def _explain_left_out(
    change: Change, permitted: PermittedRows, left_out_or_refused: Collection[Address]
) -> str:
    if change.address not in permitted.addresses:
        return _NOT_PERMITTED
    needs = [need for need in list_needed_addresses(change) if need in left_out_or_refused]
    return f"it needs {format_short_list(needs)}, which will not be done"
