"""What a run of a target shows of its rollout, written in the transaction of the run."""

from __future__ import annotations

from dataclasses import replace

from synapse_apply.controller.loop.claiming import ClaimedTarget
from synapse_apply.controller.loop.deciding import TargetDecision
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.running import FinishedRun
from synapse_apply.controller.rows import RolloutTargetRow, RunCause, TargetRow
from synapse_apply.controller.rules.assessment import Assessment
from synapse_apply.controller.rules.due import get_interval_or_default
from synapse_apply.controller.rules.rollouts.evidence import (
    ShownRun,
    add_evidence,
    choose_shown_state,
    find_soak_end,
)
from synapse_apply.controller.settings import Wave
from synapse_apply.controller.store_ports import StoreWriter


def record_evidence(
    parts: LoopParts,
    writer: StoreWriter,
    after: TargetRow,
    claimed: ClaimedTarget,
    run: FinishedRun,
    decision: TargetDecision,
    assessment: Assessment,
) -> TargetRow:
    """Write what a run of a target has shown of its rollout, in the transaction of the run.

    The target as it is after the run, due at the end of its soak at the latest.
    """
    row = parts.store.find_rollout_target(after.name)
    if row is None:
        return after
    shown_run = ShownRun(
        choose_shown_state(run.result, decision.judgement, assessment, run.verb),
        claimed.row.wanted_digest,
        claimed.epoch,
        run.began_at,
        run.ended_at,
    )
    interval = get_interval_or_default(decision.rule, parts.settings.defaults)
    updated = add_evidence(row, shown_run, interval=interval)
    wave = _configured_wave(parts, row)
    if wave is None or updated == row:
        return after
    is_shown = bool(row.good_since) and row.soaked >= wave.soak
    if not (
        is_shown and (row.good_since, row.failed_at) == (updated.good_since, updated.failed_at)
    ):
        writer.put_rollout_targets([updated])
    soak_end = find_soak_end(updated, wave)
    if soak_end is None or soak_end >= after.due_at:
        return after
    due_at = max(soak_end, parts.clock.read_wall())
    return replace(after, due_at=due_at, due_cause=RunCause.INTERVAL)


def _configured_wave(parts: LoopParts, row: RolloutTargetRow) -> Wave | None:
    """The wave of a target in the configuration in use; None where that has it no more."""
    rollout = parts.settings.rollouts.get(row.rollout)
    if rollout is None or rollout.source != row.target.source:
        return None
    return rollout.waves[row.wave - 1] if row.wave <= len(rollout.waves) else None
