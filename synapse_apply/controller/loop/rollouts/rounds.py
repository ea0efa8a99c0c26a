"""How far the rollouts of a source go on, by what their targets have shown; for who leads."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.rollouts.at_heads import rollouts_of_source
from synapse_apply.controller.loop.rollouts.messages import audit_and_log_step, queue_rollout_news
from synapse_apply.controller.rows import RolloutRow, RolloutState, WaveEnd, WaveRow
from synapse_apply.controller.rules.rollouts.advancing import RolloutStep, compute_rollout_step
from synapse_apply.controller.rules.rollouts.assignment import wave_digest
from synapse_apply.controller.rules.rollouts.beginning import is_newer_head_due
from synapse_apply.controller.rules.rollouts.members import RolloutMember
from synapse_apply.controller.settings import Rollout
from synapse_apply.controller.store_ports import StoreWriter
from synapse_apply.model.phrases import format_count_and_noun


def write_next_steps(parts: LoopParts, source: str) -> None:
    """Bring the rollouts of a source as far as what their targets have shown lets them go.

    One that has ended, or stopped, makes room for a newer head that waited for it
    (`new_head: queue`).
    """
    for rollout in rollouts_of_source(parts.settings, source):
        row = parts.store.find_begun_rollout_even_if_ended(rollout.name)
        if row is None or row.source != source:
            continue
        # Most of the time there is nothing to do: that costs no transaction.
        if not row.state.is_over:
            row = _write_next_step(parts, rollout) or row
        _request_fetch(parts, rollout, row)


def _write_next_step(parts: LoopParts, rollout: Rollout) -> RolloutRow | None:
    """One step of a rollout, and the rollout after it; None where it ended or was forgotten."""
    with parts.write() as writer:
        row = parts.store.find_begun_rollout_even_if_ended(rollout.name)
        if row is None or row.state.is_over or _is_revision_refused(parts, row):
            return None
        if row.waves_digest != wave_digest(rollout):
            # Which target is in which wave now says the comparison that was asked for.
            return None
        name = row.name

        def read_members(wave: int) -> list[RolloutMember]:
            rows = parts.store.list_rollout_targets(name, wave)
            targets = {
                row.name: row
                for row in parts.store.list_present_and_gone_targets_of_wave(name, wave)
            }
            return [RolloutMember(row, targets.get(row.target)) for row in rows]

        waves = parts.store.list_recorded_waves_of_revision(name, row.number)
        if _waits_for_person(rollout, row, waves):
            return None
        step = compute_rollout_step(rollout, row, waves, read_members, parts.clock.read_wall())
        _write_step(parts, writer, row, step)
    return step.rollout


def _waits_for_person(rollout: Rollout, row: RolloutRow, waves: Sequence[WaveRow]) -> bool:
    """Whether nothing goes on before a person has acted; the targets need not be read then."""
    if row.state is RolloutState.WAITING:
        is_approved = any(wave.wave == row.wave and wave.approved_by for wave in waves)
        return not is_approved and any(wave.approve for wave in rollout.waves[row.wave - 1 :][:1])
    return row.state is RolloutState.STOPPED


def _is_revision_refused(parts: LoopParts, row: RolloutRow) -> bool:
    """Whether the revision that it brings was refused since: which waves there are is not known."""
    revision = parts.store.find_newest_revision_of_commit(row.source, row.commit)
    return revision is not None and revision.number == row.number and revision.finding is not None


def _write_step(
    parts: LoopParts, writer: StoreWriter, before: RolloutRow, step: RolloutStep
) -> None:
    after = step.rollout
    if after != before:
        writer.put_rollout(after)
    for wave in step.waves:
        writer.put_wave(wave)
        # Note that a wave was opened or closed; nothing of one in which nothing was to be done.
        text = f"wave {wave.wave} of {after.wave_count}"
        if wave.end is WaveEnd.NONE:
            moved_count = sum(member.row.wave == wave.wave for member in step.members)
            moved = format_count_and_noun(moved_count, "target")
            audit_and_log_step(parts, writer, after, "open wave", f"{text}: {moved} moved")
        elif wave.closed_at > wave.opened_at:
            audit_and_log_step(parts, writer, after, "close wave", f"{text}: {wave.end.value}")
    writer.put_rollout_targets(step.rollout_targets)
    for target in step.targets:
        writer.put_target_keeping_claim_and_newer_revision(target)
    if after.state is not before.state and after.state is not RolloutState.RUNNING:
        reason = after.state_reason or after.description
        audit_and_log_step(parts, writer, after, f"rollout {after.state.value}", reason)
    queue_rollout_news(parts, writer, before, after)


def _request_fetch(parts: LoopParts, rollout: Rollout, row: RolloutRow) -> None:
    """Have the source compared soon where its head waits for this rollout no more.

    Which waves the targets of the head belong to is known from the project file alone.
    """
    source = parts.store.find_source_even_if_removed(row.source)
    if source is None or not row.number < source.keyed_number == source.head_number:
        return
    if not is_newer_head_due(rollout, row, source.head_number):
        return
    head = parts.store.find_newest_revision_of_commit(source.name, source.head)
    if head is None or head.finding is not None:
        return
    parts.request_comparison(source.name)
    with parts.write() as writer:
        writer.request_fetch_at_once(source.name)
