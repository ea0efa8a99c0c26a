"""When a wave opens, which of its targets move, and when it closes: one step of a rollout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from synapse_apply.controller.rows import (
    RolloutRow,
    RolloutState,
    RolloutTargetRow,
    TargetRow,
    WaveEnd,
    WaveRow,
)
from synapse_apply.controller.rules.rollouts.members import (
    RolloutMember,
    declared_members,
    has_failed,
    has_shown_all,
    is_moved_to_revision,
    is_wanted_at_revision,
)
from synapse_apply.controller.rules.rollouts.moving import (
    build_moved_member,
    choose_members_to_move,
)
from synapse_apply.controller.rules.rollouts.words import (
    describe_done_rollout,
    describe_failed_targets,
    describe_wave,
    describe_wave_to_approve,
)
from synapse_apply.controller.settings import DAY, Rollout, Wave
from synapse_apply.model.frozen import frozen

# A rollout that did not come to its last wave for so long says so, in seconds.
OVERDUE_SECONDS = 7 * DAY


@frozen
class RolloutStep:
    """The rows that a step changes: all of them are written in one transaction.

    `waves` are those that were opened or closed, `members` those that were moved.
    """

    rollout: RolloutRow
    waves: tuple[WaveRow, ...] = ()
    members: tuple[RolloutMember, ...] = ()

    @property
    def rollout_targets(self) -> tuple[RolloutTargetRow, ...]:
        return tuple(member.row for member in self.members)

    @property
    def targets(self) -> tuple[TargetRow, ...]:
        return tuple(member.target for member in self.members if member.target is not None)


def compute_rollout_step(
    rollout: Rollout,
    row: RolloutRow,
    waves: Sequence[WaveRow],
    read_members: Callable[[int], Sequence[RolloutMember]],
    now: float,
) -> RolloutStep:
    """Bring a rollout as far as what its targets have shown lets it go.

    `waves` are the rows of this revision's waves; `read_members` gives the members of a wave by its
    number, and is asked for the open wave and those that open. What is not there yet is waited for:
    a second call with the rows of the first changes nothing.
    """
    return _StepComputation(rollout, row, waves, read_members, now).compute_step()


def is_overdue_for_a_week(row: RolloutRow, now: float) -> bool:
    """Whether no revision of the rollout has come to the last wave for a week."""
    return (
        not row.state.is_over
        and bool(row.reached_at)
        and (row.wave < row.wave_count or not row.wave_since)
        and now - row.reached_at > OVERDUE_SECONDS
    )


class _StepComputation:
    """One step, wave by wave."""

    def __init__(
        self,
        rollout: Rollout,
        row: RolloutRow,
        waves: Sequence[WaveRow],
        read_members: Callable[[int], Sequence[RolloutMember]],
        now: float,
    ) -> None:
        self._settings = rollout.waves
        self._row = row
        self._waves = {wave.wave: wave for wave in waves}
        self._read_members = read_members
        self._now = now
        self._changed_waves: dict[int, WaveRow] = {}
        self._moved_members: list[RolloutMember] = []

    def compute_step(self) -> RolloutStep:
        while not self._row.state.is_over and self._advance_wave():
            pass
        return RolloutStep(
            self._row, tuple(self._changed_waves.values()), tuple(self._moved_members)
        )

    def _advance_wave(self) -> bool:
        """Do what can be done of the wave that is next; whether it is closed and another is."""
        row = self._row
        if row.wave > len(self._settings):
            self._note_finished_rollout()
            return False
        wave = self._waves.get(row.wave) or WaveRow(row.source, row.name, row.number, row.wave)
        settings = self._settings[row.wave - 1]
        members = declared_members(self._read_members(row.wave))
        if wave.end is WaveEnd.SKIPPED:
            self._move_and_note_members(
                [member for member in members if not is_moved_to_revision(member)]
            )
            self._go_on()
            return True
        if not wave.opened_at:
            if _needs_approval(settings, wave, members):
                self._set_state_unless_same(RolloutState.WAITING)
                self._set_description(describe_wave_to_approve(row, len(members)))
                return False
            wave = replace(wave, opened_at=self._now)
            self._note_changed_wave(wave)
            self._set_state_unless_same(RolloutState.RUNNING)
            self._row = replace(self._row, wave_since=self._now)
            if wave.wave == len(self._settings):
                self._row = replace(self._row, reached_at=self._now)
        return self._stop_or_move(wave, settings, members)

    def _stop_or_move(
        self, wave: WaveRow, settings: Wave, members: Sequence[RolloutMember]
    ) -> bool:
        failed = [member for member in members if has_failed(member)]
        if self._row.state is RolloutState.STOPPED or len(failed) > settings.max_failures:
            if self._row.state is not RolloutState.STOPPED:
                self._set_state_unless_same(
                    RolloutState.STOPPED, describe_failed_targets(self._row, failed)
                )
            self._set_description(describe_wave(self._row, settings, members))
            return False
        moved = {
            member.row.target: build_moved_member(member, self._now)
            for member in choose_members_to_move(settings, members)
        }
        self._moved_members.extend(moved.values())
        members = [moved.get(member.row.target, member) for member in members]
        if not all(has_shown_all(member, settings) for member in members):
            self._set_description(describe_wave(self._row, settings, members))
            return False
        self._note_changed_wave(replace(wave, closed_at=self._now, end=WaveEnd.EVIDENCE))
        self._go_on()
        return True

    def _move_and_note_members(self, members: Sequence[RolloutMember]) -> None:
        self._moved_members.extend(build_moved_member(member, self._now) for member in members)

    def _go_on(self) -> None:
        self._row = replace(self._row, wave=self._row.wave + 1, wave_since=0.0)
        if self._row.wave > len(self._settings):
            self._note_finished_rollout()

    def _note_finished_rollout(self) -> None:
        self._row = replace(self._row, wave=len(self._settings))
        self._set_state_unless_same(RolloutState.DONE)
        self._set_description(describe_done_rollout(self._row))

    def _note_changed_wave(self, wave: WaveRow) -> None:
        self._waves[wave.wave] = self._changed_waves[wave.wave] = wave

    def _set_state_unless_same(self, state: RolloutState, reason: str = "") -> None:
        if self._row.state is not state:
            self._row = replace(
                self._row, state=state, state_since=self._now, state_reason=reason, state_by=""
            )

    def _set_description(self, text: str) -> None:
        self._row = replace(self._row, description=text)


def _needs_approval(settings: Wave, wave: WaveRow, members: Sequence[RolloutMember]) -> bool:
    """Whether a person is to let the wave begin: not where it changes nothing."""
    is_asked = settings.approve and not wave.approved_by
    return is_asked and any(not is_wanted_at_revision(member) for member in members)
