"""What people ask of rollouts: each is checked, done and in the audit in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.reasons import normalize_reason
from synapse_apply.controller.loop.rollouts.messages import audit_and_log_step, queue_rollout_news
from synapse_apply.controller.ports import ActionRefused
from synapse_apply.controller.rows import RolloutRow, RunCause, WaveEnd, WaveRow
from synapse_apply.controller.rules.rollouts import asking
from synapse_apply.controller.store_ports import StoreWriter
from synapse_apply.model.phrases import format_count_and_noun


class LoopRolloutActions:
    """The RolloutActions of a running loop; used by any thread.

    The next round of the loop goes on from what they wrote.
    """

    def __init__(self, parts: LoopParts, wake: Callable[[], None]) -> None:
        """`wake` begins the loop's next round."""
        self._parts = parts
        self._wake = wake

    def approve_wave_or_refuse(self, who: str, rollout: str, number: int, wave: int) -> None:
        """See RolloutActions."""
        with self._parts.write() as writer:
            row = self._begun_rollout(rollout)
            wave_row = self._read_wave_or_blank(row, wave)
            writer.put_wave(asking.approve_wave(row, wave_row, number=number, who=who))
            self._audit(writer, row, who, "approve wave", f"wave {wave} of {row.wave_count}")
        self._mark_changed(row)

    def resume_rollout_or_refuse(self, who: str, rollout: str, number: int) -> None:
        """See RolloutActions; the targets that failed are looked at soon."""
        parts = self._parts
        with parts.write() as writer:
            row, now = self._begun_rollout(rollout), parts.clock.read_wall()
            targets = parts.store.list_rollout_targets(row.name, row.wave)
            after, failed = asking.resume_rollout(row, targets, number=number, who=who, now=now)
            writer.put_rollout(after)
            writer.put_rollout_targets(failed)
            for failed_target in failed:
                target = parts.store.find_target_even_if_gone(failed_target.target)
                if target is not None and not target.is_gone:
                    writer.put_target_keeping_claim_and_newer_revision(
                        replace(
                            target,
                            due_at=now,
                            due_cause=RunCause.RESUMED,
                            due_detail=f"the rollout {rollout}, which goes on",
                        )
                    )
            self._audit(
                writer,
                row,
                who,
                "resume rollout",
                f"{format_count_and_noun(len(failed), 'target')} tried again",
            )
            queue_rollout_news(parts, writer, row, after)
        self._mark_changed(row)

    def skip_wave_or_refuse(
        self, who: str, rollout: str, number: int, wave: int, reason: str
    ) -> None:
        """See RolloutActions."""
        parts = self._parts
        with parts.write() as writer:
            row, now = self._begun_rollout(rollout), parts.clock.read_wall()
            reason = normalize_reason(reason)
            wave_row = self._read_wave_or_blank(row, wave)
            after, wave_row = asking.skip_wave(
                row, wave_row, number=number, who=who, reason=reason, now=now
            )
            writer.put_rollout(after)
            writer.put_wave(wave_row)
            detail = f"wave {wave} of {row.wave_count}" + (f": {reason}" if reason else "")
            self._audit(writer, row, who, "skip wave", detail)
            queue_rollout_news(parts, writer, row, after)
        self._mark_changed(row)

    def abort_rollout_or_refuse(self, who: str, rollout: str, number: int, reason: str) -> None:
        """See RolloutActions."""
        with self._parts.write() as writer:
            row, now = (self._begun_rollout(rollout), self._parts.clock.read_wall())
            reason = normalize_reason(reason)
            after = asking.abort_rollout(row, number=number, who=who, reason=reason, now=now)
            writer.put_rollout(after)
            wave = self._read_wave_or_blank(row, row.wave)
            if wave.end is WaveEnd.NONE:
                writer.put_wave(replace(wave, closed_at=now, closed_by=who, reason=reason))
            queue_rollout_news(self._parts, writer, row, after)
            detail = f"in wave {row.wave} of {row.wave_count}" + (f": {reason}" if reason else "")
            self._audit(writer, row, who, "abort rollout", detail)
        self._mark_changed(row)

    def _begun_rollout(self, name: str) -> RolloutRow:
        row = self._parts.store.find_begun_rollout_even_if_ended(name)
        rollout = self._parts.settings.rollouts.get(name)
        if row is None or rollout is None or rollout.source != row.source:
            raise ActionRefused.from_summary(
                "There is no such rollout",
                "controller.yaml has none of this name, or it has not begun with any revision.",
                "The page of rollouts lists those that there are.",
            )
        return row

    def _read_wave_or_blank(self, row: RolloutRow, wave: int) -> WaveRow:
        """What was said of a wave so far."""
        rows = self._parts.store.list_recorded_waves_of_revision(row.name, row.number)
        blank = WaveRow(row.source, row.name, row.number, wave)
        return {row.wave: row for row in rows}.get(wave, blank)

    def _audit(
        self, writer: StoreWriter, row: RolloutRow, who: str, action: str, detail: str
    ) -> None:
        audit_and_log_step(self._parts, writer, row, action, detail, who=who)
        writer.increment_change_number_of_source(row.source)

    def _mark_changed(self, row: RolloutRow) -> None:
        self._parts.add_changed_source(row.source)
        self._wake()
