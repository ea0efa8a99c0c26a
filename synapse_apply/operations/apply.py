"""Use case: make it so. Everything is checked before the first call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from synapse_apply.applying.executors import SerialExecutor, ThreadedExecutor
from synapse_apply.applying.scheduler import Scheduler
from synapse_apply.applying.step import Step
from synapse_apply.applying.steps.request_body import iter_sent_secrets
from synapse_apply.live.open_intents import close_resolved_intents
from synapse_apply.model.command import add_target_to_report
from synapse_apply.model.diagnostic import Diagnostic, error_finding
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
from synapse_apply.operations.steps import build_apply_tools, build_steps, collect_live_objects
from synapse_apply.workspace.target_session import PlanResult, TargetSession


def check(plan: Plan, *, all_or_nothing: bool = False) -> None:
    """Raise when this plan must not be applied: errors (exit 1), guards or refusals (exit 5)."""
    if (problem := _find_obstacle_error(plan, all_or_nothing)) is not None:
        problem.plan = plan
        raise problem


def _find_obstacle_error(plan: Plan, all_or_nothing: bool) -> SynapseApplyError | None:
    if plan.has_errors:
        return InputError(*(finding for finding in plan.diagnostics if finding.is_error))
    if plan.guards:
        return Refused(*(error_finding(guard.summary, guard.detail) for guard in plan.guards))
    if not (all_or_nothing and plan.refused_changes):
        return None
    rules = {refusal.rule for change in plan.refused_changes for refusal in change.refusals}
    error_type = Stale if rules & STALE_RULES else Refused
    return error_type(
        error_finding(
            "Nothing was applied: some rows are refused",
            f"{len(plan.refused_changes)} refused (see ! rows) and --all-or-nothing was given.",
            "Settle the refused rows, or apply the rest without --all-or-nothing.",
        )
    )


def apply(
    session: TargetSession,
    plan_result: PlanResult,
    progress: Progress,
    stop_signal: Callable[[], int] = lambda: 0,
    *,
    run_until_cut: Callable[[Callable[[], None]], None] = lambda work: work(),
    is_single_use: bool = False,
    may_adopt: bool = False,
) -> Report:
    """Carry a checked plan out under the state's lock, which the caller holds.

    `stop_signal` gives the number of the signal that asks to end, 0 while there is none.
    `run_until_cut` does the work and may come back before its end, when nobody wants to wait for
    it: what was under way is unknown then. `is_single_use` uses the plan's id up, before the first
    call. `may_adopt`: a create that meets an object which is as declared takes it over.
    SecretUnavailable, with every finding, before that.
    """
    plan = plan_result.plan
    steps = build_steps(plan_result)
    _require_secrets(session, steps)
    if is_single_use and (steps or plan.moved):
        session.store.mark_plan_applied(plan.id)
    close_resolved_intents(session, plan_result.resolved_intents, plan.id)
    if plan.moved:
        _apply_moves(session, plan)
    tools = replace(build_apply_tools(session, plan_result, progress), may_adopt=may_adopt)
    store = session.store

    def find_stop_reason() -> str:
        if stop_signal():
            return "the run was stopped"
        if not store.holds_lock():
            return "the lock on the state was lost"
        return "the state could not be written" if store.has_failed_write() else ""

    scheduler = Scheduler(steps, tools, collect_live_objects(plan_result), find_stop_reason)

    def run_steps() -> None:
        with (
            SerialExecutor()
            if session.parallelism == 1
            else ThreadedExecutor(session.parallelism) as executor
        ):
            scheduler.run_all(executor)

    run_until_cut(run_steps)
    scheduler.close_unfinished()
    is_lock_lost = not store.holds_lock()
    report = Report(
        plan,
        scheduler.outcomes,
        stop_signal(),
        is_lock_lost,
        verification_results=scheduler.verifications,
    )
    return add_target_to_report(report, session.typed_target)


def _apply_moves(session: TargetSession, plan: Plan) -> None:
    renames = {move.old: move.new for move in plan.moved}
    session.store.rename_addresses(renames, session.signer.sign_moved_record)
    moment, actor = session.clock.utc_now(), session.actor
    session.store.append_audit_entries(
        *(
            actor.build_state_audit_entry(
                move.old, f"move to {move.new}", moment=moment, plan_id=plan.id
            )
            for move in plan.moved
        )
    )


def _require_secrets(session: TargetSession, steps: list[Step]) -> None:
    """Every secret that will be sent must resolve before anything is sent."""
    findings: list[Diagnostic] = []
    for step in steps:
        for path, ref in iter_sent_secrets(step):
            try:
                session.secrets.resolve_secret(ref)
            except SecretUnavailable as missing:
                position = step.desired.find_position(path) if step.desired else None
                findings.extend(
                    replace(finding, address=str(step.address), position=position)
                    for finding in missing.diagnostics
                )
    if findings:
        raise SecretUnavailable(*findings)
