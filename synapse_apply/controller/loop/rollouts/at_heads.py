"""What a head makes of the rollouts of its source, written in the transaction of its comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.rollouts.messages import audit_and_log_step, queue_rollout_news
from synapse_apply.controller.rows import RolloutState, RolloutTargetRow, SourceRow
from synapse_apply.controller.rules.rollouts.assignment import RolloutAssignments
from synapse_apply.controller.rules.rollouts.beginning import compute_rollout_beginning
from synapse_apply.controller.settings import Controller, Rollout
from synapse_apply.controller.store_ports import StoreWriter
from synapse_apply.model.phrases import format_count_and_noun


def rollouts_of_source(settings: Controller, source: str) -> list[Rollout]:
    """The rollouts that a configuration has for a source."""
    return [rollout for rollout in settings.rollouts.values() if rollout.source == source]


def write_rollouts_at_head(
    parts: LoopParts, writer: StoreWriter, source: SourceRow, assignments: RolloutAssignments
) -> None:
    """Write what the head of a source makes of its rollouts; the next round opens their waves.

    One that the configuration no longer has is forgotten: its targets are at the head as any other.
    """
    configured = {
        rollout.name: rollout for rollout in rollouts_of_source(parts.settings, source.name)
    }
    for row in parts.store.list_begun_rollouts_even_ended():
        is_unknown = row.source == source.name and row.name not in configured
        if is_unknown or row.source not in parts.settings.sources:
            writer.delete_rollout_with_waves_and_targets(row.name)
            audit_and_log_step(
                parts, writer, row, "forget rollout", "controller.yaml has it no more"
            )
    beginnings = []
    for rollout in configured.values():
        before = parts.store.find_begun_rollout_even_if_ended(rollout.name)
        targets_before: Sequence[RolloutTargetRow] = ()
        if before is not None and before.source != source.name:
            writer.delete_rollout_with_waves_and_targets(before.name)
            before = None
        elif before is not None:
            targets_before = parts.store.list_rollout_targets(rollout.name)
        beginning = compute_rollout_beginning(
            rollout,
            before,
            targets_before,
            assignments.targets_by_rollout[rollout.name],
            commit=source.head,
            number=source.head_number,
            now=parts.clock.read_wall(),
        )
        beginnings.append((before, beginning))
    # A target may have left one rollout for another.
    for _, beginning in beginnings:
        writer.delete_from_rollouts(beginning.removed_names)
    for before, beginning in beginnings:
        for wave in beginning.waves:
            writer.put_wave(wave)
        writer.put_rollout_targets(beginning.targets)
        after = beginning.rollout
        if after is None and before is not None and beginning.removed_names:
            after = (
                replace(before, state=RolloutState.RUNNING)
                if before.state is RolloutState.WAITING
                else before
            )
        if after is not None:
            writer.put_rollout(after)
            if before is None or before.number != after.number:
                audit_and_log_step(
                    parts,
                    writer,
                    after,
                    "begin rollout",
                    format_count_and_noun(after.wave_count, "wave"),
                )
            elif before.wave != after.wave:
                detail = f"wave {after.wave} anew: its targets are others"
                audit_and_log_step(parts, writer, after, "begin waves again", detail)
            queue_rollout_news(parts, writer, before, after)
