"""How the rows that somebody permits are applied: planned, chosen and made under one lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from synapse_apply.applying.permits import FinalPermit
from synapse_apply.live.open_intents import close_intents_with_known_outcome
from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Plan
from synapse_apply.model.ports import CallPermit
from synapse_apply.model.report import Report
from synapse_apply.operations.apply import ApplyRun, check
from synapse_apply.operations.apply_observer import ApplyObserver
from synapse_apply.planning.staleness.narrow_to_permitted import (
    list_decidable_changes,
    narrow_to_permitted_rows,
)
from synapse_apply.planning.staleness.permitted_rows import PermittedApply, PermittedRows
from synapse_apply.workspace.target_session import PlanResult, TargetSession

_USED_GUARD_APPROVAL_REASON = "the approval of a guard was used by an earlier run"
# Says which rows of a plan may be made.
ChooseRows = Callable[[Plan], PermittedRows]


@frozen
class RunIdentity:
    """As what an apply is known: its plan id, who stands in the audit, what the lock shows."""

    run_id: str
    who: str
    operation: str


def plan_and_apply_permitted_rows(
    session: TargetSession,
    apply_run: ApplyRun,
    observer: ApplyObserver,
    choose: ChooseRows,
    identity: RunIdentity,
    permit: CallPermit | None,
) -> PermittedApply:
    """Lock the state, plan, ask which rows may be made, and make these alone.

    Open calls of earlier runs are settled first, as by any apply. Before the first call it raises
    LockHeld, InputError for a plan with errors (nobody is asked about it then), Refused by a guard
    that is left, SecretUnavailable, and StateError.
    """
    with (
        _act_as_identity_in_block(session, identity, permit),
        session.lock_state_of_own_project(identity.operation),
    ):
        plan_result = apply_run.make_plan_with_preflight()
        if plan_result.plan.has_errors:
            observer.show_plan(plan_result.plan)
            check(plan_result.plan)
        permitted = choose(plan_result.plan)
        narrowed = narrow_to_permitted_rows(plan_result.plan, permitted, identity.run_id)
        observer.show_plan(narrowed)
        check(narrowed)
        report = _apply_using_up_guard_approvals_unless_used_before(
            session, apply_run, replace(plan_result, plan=narrowed), permitted
        )
        used_ids: tuple[str, ...] = ()
        # A state that is lost by now keeps what it has; whoever asks later is told.
        with suppress(StateError):
            used_ids = session.store.list_used_approvals(permitted.list_approval_ids())
    return PermittedApply(report, used_ids, report.stop_reason)


def _apply_using_up_guard_approvals_unless_used_before(
    session: TargetSession,
    apply_run: ApplyRun,
    plan_result: PlanResult,
    permitted: PermittedRows,
) -> Report:
    """Apply a checked plan; what approved its guards is used up with the first row that begins.

    That is for one time, and for these rows together: once one is done, the guard counts others.
    Where it was used before, nothing is done, and the report says so.
    """
    store, guard_ids = session.store, permitted.guard_approvals
    first_change = next(
        (each for each in list_decidable_changes(plan_result.plan) if not each.is_refused), None
    )
    if not guard_ids or first_change is None:
        return apply_run.apply_checked_plan_under_held_lock(plan_result, permitted=permitted)
    # First: a call that had no effect gives back what approved its guard.
    close_intents_with_known_outcome(session, plan_result.resolved_intents, plan_result.plan.id)
    plan_result = replace(plan_result, resolved_intents=())
    if store.list_used_approvals(guard_ids):
        return Report(plan_result.plan, stop_reason=_USED_GUARD_APPROVAL_REASON)
    row_ids = permitted.approvals.get(first_change.address, ())
    approvals = {**permitted.approvals, first_change.address: (*row_ids, *guard_ids)}
    report = apply_run.apply_checked_plan_under_held_lock(
        plan_result, permitted=replace(permitted, approvals=approvals)
    )
    if not report.has_only_failed_or_skipped_changes_and_skipped_runs:
        # That row may have failed, or waited for another that did.
        with suppress(StateError):
            used_ids = store.list_used_approvals(guard_ids)
            store.use_approvals_up_or_raise_if_used(
                *(each for each in guard_ids if each not in used_ids)
            )
    return report


@contextmanager
def _act_as_identity_in_block(
    session: TargetSession, identity: RunIdentity, permit: CallPermit | None
) -> Iterator[None]:
    """Have a session act for somebody, and ask a permit before each call, in the block."""
    actor, call_permit = session.actor, session.call_permit
    session.actor = replace(actor, who=identity.who)
    session.call_permit = FinalPermit(permit)
    try:
        yield
    finally:
        session.actor, session.call_permit = actor, call_permit
