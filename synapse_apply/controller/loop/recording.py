"""How a run is recorded, in one transaction: run, target, holds, approvals, audit, messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapse_apply.controller.loop.claiming import ClaimedTarget, FinishedRun
from synapse_apply.controller.loop.deciding import TargetDecision, end_approval
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.rollouts import record_evidence
from synapse_apply.controller.page.addresses import build_run_path, build_target_path
from synapse_apply.controller.planned_rows import HeldRow, RowAction
from synapse_apply.controller.ports import TargetFilter
from synapse_apply.controller.rows import (
    BegunApply,
    HoldRow,
    RunCause,
    RunOutcome,
    RunRow,
    RunVerb,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.assessment import Assessment
from synapse_apply.controller.rules.due import HELD_UP_SECONDS
from synapse_apply.controller.rules.judging import is_moved_row
from synapse_apply.controller.rules.revisions import list_target_events
from synapse_apply.controller.rules.targets import is_same_as_last_run, target_row_after_run
from synapse_apply.controller.settings import Event, Mode
from synapse_apply.controller.store.store_writer import StoreWriter

_ALL_TARGETS = 10**9


def record_run(
    parts: LoopParts,
    claimed: ClaimedTarget,
    run: FinishedRun,
    decision: TargetDecision,
    assessment: Assessment,
) -> None:
    """Write what a look found, or an apply did, unless the claim is another's by now."""
    name = claimed.row.name
    with parts.write() as writer:
        row = parts.store.find_target(name)
        if row is None or not writer.is_claim_own(name, parts.holder, claimed.epoch):
            return
        begun, row = row.begun_apply, replace(row, begun_apply=None)
        if run.result.held_up_by_run:
            # Another run is at work: what was seen in its middle would be told as drift.
            parts.count_postponed_run()
            writer.put(replace(row, due_at=parts.clock.read_wall() + HELD_UP_SECONDS))
            parts.log(
                "info",
                f"{run.verb.value} postponed",
                target=row.name,
                reason="another run has the lock",
            )
        else:
            _write_run(parts, writer, row, claimed, run, decision, assessment, begun)
        writer.release_claim(name, parts.holder, claimed.epoch)
        writer.count_change(name.source)


def _write_run(
    parts: LoopParts,
    writer: StoreWriter,
    row: TargetRow,
    claimed: ClaimedTarget,
    run: FinishedRun,
    decision: TargetDecision,
    assessment: Assessment,
    begun: BegunApply | None,
) -> None:
    looked = claimed.row
    run_row = _build_run_row(looked, run, decision)
    if begun is not None and run_row.outcome is RunOutcome.WORKER_LOST:
        run_row = replace(run_row, approved_by=begun.approved_by)
    last = next(iter(parts.store.newest_runs(row.name, 1)), None)
    has_same_inputs = row.input_digest == looked.wanted_digest
    if (
        last is not None
        and run.verb is last.verb is RunVerb.LOOK
        and is_same_as_last_run(last, run_row, has_same_inputs=has_same_inputs)
    ):
        run_id = last.id
        writer.count_repeated_look(last.id, run.ended_at)
    else:
        run_id = run.id
        writer.put(run_row)
    holds_before = parts.store.list_holds(row.name)
    holds = holds_before
    # A run that failed before it had a plan says nothing of its rows.
    if run.result.rows or not run.result.outcome.is_failure:
        holds = _build_holds(holds_before, row.name, looked, run_id, run, decision)
        if holds != holds_before:
            writer.replace_holds(row.name, holds)
    after = target_row_after_run(
        row,
        looked,
        run_id,
        run.result,
        replace(
            assessment,
            hold_count=len(holds),
            held_guard_count=sum(hold.held_row.row.action is RowAction.GUARD for hold in holds),
        ),
        verb=run.verb,
        now=parts.clock.read_wall(),
        rule=decision.rule,
        defaults=parts.settings.defaults,
        chance=parts.clock.draw_fraction(),
    )
    after = record_evidence(parts, writer, after, claimed, run, decision, assessment)
    writer.put(after)
    writer.mark_approvals_used(run.result.used_approvals, run.id, run.ended_at)
    _end_approvals(parts, writer, looked, run, last)
    if run.verb is RunVerb.APPLY:
        calls = run_row.calls
        detail = f"run {run_row.id} of {run_row.commit}: {run_row.outcome.value}, {calls.done} done"
        for count, word in (
            (calls.failed, "failed"),
            (calls.unknown, "unknown"),
            (calls.skipped, "skipped"),
        ):
            detail += f", {count} {word}" if count else ""
        if run_row.approved_by:
            detail += f"; approved by {', '.join(run_row.approved_by)}"
        writer.append_audit(run_row.ended_at, parts.who, "apply", str(run_row.target), detail)
    _queue_message(parts, writer, row, after, run_row, holds_before, holds)
    if run_id == run.id:
        _wake_waiting(parts, writer, row.name)
        _log_run(parts, after, run_row)


def _build_run_row(looked: TargetRow, run: FinishedRun, decision: TargetDecision) -> RunRow:
    result = run.result
    cause = _choose_cause(looked, run, decision)
    return RunRow(
        id=run.id,
        target=looked.name,
        commit=looked.wanted_commit,
        cause=cause,
        began_at=run.began_at,
        ended_at=run.ended_at,
        outcome=result.outcome,
        counts=result.counts,
        findings=result.findings,
        plan_json=result.plan_json,
        result_digest=result.result_digest,
        verb=run.verb,
        calls=result.calls,
        approved_by=decision.approvers_by_ids(result.used_approvals),
        stop_reason=result.stop_reason,
        report_json=result.report_json,
        cause_detail=looked.due_detail if cause is RunCause.RESUMED else "",
    )


def _choose_cause(looked: TargetRow, run: FinishedRun, decision: TargetDecision) -> RunCause:
    """Why a run was made: an approval may come while a look for another reason is under way."""
    if run.result.used_approvals:
        return RunCause.APPROVED
    # Where nothing approved is left, an apply has just done it.
    is_after_apply = run.verb is RunVerb.LOOK and not decision.terms.approvals
    is_approved = looked.due_cause is RunCause.APPROVED
    return RunCause.APPLIED if is_approved and is_after_apply else looked.due_cause


def _build_holds(
    before: Sequence[HoldRow],
    name: TargetName,
    looked: TargetRow,
    run_id: str,
    run: FinishedRun,
    decision: TargetDecision,
) -> list[HoldRow]:
    """The rows that wait after a run; one that waited before waits since then.

    In mode observe there is none but that of another backend.
    """
    held_rows: Sequence[HeldRow] = decision.judgement.held_rows
    if decision.rule.mode is Mode.OBSERVE:
        held_rows = [held_row for held_row in held_rows if is_moved_row(held_row.row)]
    old_holds = {hold.row_digest: hold for hold in before}
    holds: dict[str, HoldRow] = {}
    for held_row in held_rows:
        digest, number = held_row.row.digest, len(holds)
        old = old_holds.get(digest) or HoldRow(name, digest, held_row, "", "", run.ended_at)
        hold = replace(
            old, held_row=held_row, commit=looked.wanted_commit, run=run_id, number=number
        )
        holds.setdefault(digest, hold)
    # What is refused now, was applied in part, or could not be planned, may be the same row again.
    is_known = run.verb is RunVerb.LOOK and not run.result.outcome.is_failure
    others = (*decision.judgement.refused_rows, *decision.judgement.waiting_rows)
    addresses = {row.address for row in others}
    # Somebody has rejected one of these since that was decided.
    permitted = {row.digest for row in decision.judgement.permitted_rows}
    permitted |= decision.judgement.used_approvals.keys()
    for old in before:
        is_there = old.held_row.row.address in addresses or old.row_digest in permitted
        if old.rejected_by and (not is_known or is_there):
            holds.setdefault(old.row_digest, replace(old, number=len(holds)))
    return list(holds.values())


def _end_approvals(
    parts: LoopParts,
    writer: StoreWriter,
    looked: TargetRow,
    run: FinishedRun,
    last: RunRow | None,
) -> None:
    """Delete unused approvals of rows that a plan has no more: the same rows may come again.

    A plan with errors lacks rows that are there, and a run that ended before its plan has none.
    `last` is the run before: of an apply that was lost nobody has told which it used.
    """
    lost = last.approved_by if last and last.outcome is RunOutcome.WORKER_LOST else ()
    outcome, digests = run.result.outcome, {row.digest for row in run.result.rows}
    if outcome is RunOutcome.PLAN_ERROR or not (digests or outcome is RunOutcome.IN_SYNC):
        return
    for approval in parts.store.list_approvals(looked.name):
        is_returned = approval.id in run.result.returned_approvals
        if approval.used_at and is_returned:
            writer.put_approval(replace(approval, used_at=0.0, used_by_run=""))
            row, subject = f"{approval.row} ({approval.row_digest})", str(looked.name)
            text = f"its call was not done: {row}; approved by {approval.who}"
            writer.append_audit(run.ended_at, parts.who, "return approval", subject, text)
        is_used = approval.used_at and not is_returned
        is_used = is_used or approval.id in run.result.used_approvals
        if not is_used and approval.row_digest not in digests:
            is_lost = approval.who in lost
            why = "an apply that was cut short may have used it" if is_lost else "gone"
            end_approval(parts, writer, approval, why, run.ended_at)


def _wake_waiting(parts: LoopParts, writer: StoreWriter, name: TargetName) -> None:
    """Have targets of the source due at once that wait for a verification in this one.

    It is found by the words of the refusal (`planning/verification.py`): one that is found for
    nothing is looked at once too often.
    """
    waiting = TargetFilter(name.source, TargetCondition.WAITING)
    for row in parts.store.target_page(waiting, 0, _ALL_TARGETS).targets:
        if row.name != name and f"target {name.target} " in row.waiting_reason:
            now = parts.clock.read_wall()
            writer.put(
                replace(
                    row,
                    due_at=now,
                    due_cause=RunCause.RESUMED,
                    due_detail=f"a verification in {name}",
                )
            )


def _queue_message(
    parts: LoopParts,
    writer: StoreWriter,
    before: TargetRow,
    after: TargetRow,
    run: RunRow,
    holds_before: Sequence[HoldRow],
    holds: Sequence[HoldRow],
) -> None:
    events = list_target_events(before, after)
    is_held = after.state is TargetCondition.HELD
    # What a person has to decide is more than before, though the word is the same.
    if not events and is_held and _has_new_hold(holds_before, holds):
        events = [Event.HELD]
    for event in events:
        is_of_holds = event is Event.HELD and bool(holds)
        parts.queue_messages(
            writer,
            event,
            f"{after.name} {after.state.value} in {run.id}",
            source=after.name.source,
            target=after.name,
            commit=run.commit,
            # A warning of the plan is no reason for what is told.
            finding=next((finding for finding in run.findings if finding.is_error), None),
            counts=run.counts,
            holds=holds if is_of_holds else (),
            failure_count=after.failures if event is Event.FAILED else 0,
            page=build_target_path(after.name) if is_of_holds else build_run_path(after.last_run),
        )


def _has_new_hold(before: Sequence[HoldRow], after: Sequence[HoldRow]) -> bool:
    old_digests = {hold.row_digest for hold in before}
    return any(hold.row_digest not in old_digests for hold in after)


def _log_run(parts: LoopParts, row: TargetRow, run: RunRow) -> None:
    first = next((finding for finding in run.findings if finding.is_error), None)
    calls = run.calls
    parts.log(
        "warn" if run.outcome.is_failure else "info",
        run.verb.value,
        target=row.name,
        run=run.id,
        cause=run.cause.value,
        commit=run.commit,
        outcome=run.outcome.value,
        state=row.state.value,
        changes=run.counts.row_count_without_guards,
        drifted=run.counts.drifted,
        held=row.hold_count or "",
        done=calls.done if run.verb is RunVerb.APPLY else "",
        failed=calls.failed or "",
        unknown=calls.unknown or "",
        skipped=calls.skipped or "",
        approved_by=", ".join(run.approved_by),
        stopped=run.stop_reason,
        seconds=run.ended_at - run.began_at,
        summary=first.summary if first else "",
    )
