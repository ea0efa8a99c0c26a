"""How an apply is remembered from its begin on, so that one whose process ended has a run row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.rows import (
    BegunApply,
    RunCause,
    RunOutcome,
    RunRow,
    RunVerb,
    TargetRow,
)
from synapse_apply.controller.store_ports import StoreWriter
from synapse_apply.model.diagnostic import error_finding

_FINDING = error_finding(
    "The controller ended, or lost its claim, while this apply ran",
    "What it did until then is in the target's state, and the look after it has settled what was "
    "not known.",
    "See that look, or the history of the state.",
)


def record_begin_of_apply(
    parts: LoopParts, claimed_row: TargetRow, epoch: int, run_id: str, approvers: Sequence[str]
) -> None:
    """Write, before an apply is asked for, that it begins: in the target's row and the audit.

    `epoch` is that of the claim: the row of a target that is another's by now stays as it is.
    """
    name, commit, now = claimed_row.name, claimed_row.wanted_commit, parts.clock.read_wall()
    detail = f"run {run_id} of {commit}"
    if approvers:
        detail += f"; approved by {', '.join(approvers)}"
    cause = RunCause.APPROVED if approvers else claimed_row.due_cause
    begun = BegunApply(run_id, commit, cause, now, tuple(approvers))
    with parts.write() as writer:
        row = parts.store.find_target_even_if_gone(name)
        if row is not None and writer.is_claim_still_own_even_if_over(name, parts.holder, epoch):
            writer.put_target_keeping_claim_and_newer_revision(replace(row, begun_apply=begun))
        writer.append_audit(now, parts.who, "begin apply", str(name), detail)


def record_lost_apply_if_any(parts: LoopParts, writer: StoreWriter, row: TargetRow) -> TargetRow:
    """Write the run row of an apply whose process ended before it did; the target without it.

    `row` is a target that was claimed just now, so that nobody records that apply any more.
    """
    begun = row.begun_apply
    if begun is None:
        return row
    now, after = parts.clock.read_wall(), replace(row, begun_apply=None)
    writer.put_target_keeping_claim_and_newer_revision(after)
    writer.put_run(
        RunRow(
            id=begun.run,
            target=row.name,
            commit=begun.commit,
            cause=begun.cause,
            began_at=begun.began_at,
            ended_at=now,
            outcome=RunOutcome.WORKER_LOST,
            findings=(_FINDING,),
            verb=RunVerb.APPLY,
            approved_by=begun.approved_by,
        )
    )
    detail = f"run {begun.run} of {begun.commit}: {RunOutcome.WORKER_LOST.value}"
    writer.append_audit(now, parts.who, "apply", str(row.name), detail)
    parts.log("warn", "apply lost", target=row.name, run=begun.run, commit=begun.commit)
    return after
