"""When a wave opens, which of its targets move, and when it closes: one step of a rollout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from synapse_apply.controller.rollout_rows import (
    RolloutRow,
    RolloutState,
    RolloutTargetRow,
    WaveEnd,
    WaveRow,
)
from synapse_apply.controller.rows import TargetRow
from synapse_apply.controller.rules.rollouts.members import (
    RolloutMember,
    has_failed,
    has_same_inputs,
    has_shown_all,
    is_moved,
    list_live_members,
)
from synapse_apply.controller.rules.rollouts.moving import choose_moves, move_member
from synapse_apply.controller.rules.rollouts.words import (
    describe_done,
    describe_failed,
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


def advance_rollout(
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
    return _Advance(rollout, row, waves, read_members, now).run()


def is_overdue(row: RolloutRow, now: float) -> bool:
    """Whether no revision of the rollout has come to the last wave for a week."""
    return (
        not row.state.is_over
        and bool(row.reached_at)
        and (row.wave < row.wave_count or not row.wave_since)
        and now - row.reached_at > OVERDUE_SECONDS
    )


class _Advance:
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

    def run(self) -> RolloutStep:
        while not self._row.state.is_over and self._pass_wave():
            pass
        return RolloutStep(
            self._row, tuple(self._changed_waves.values()), tuple(self._moved_members)
        )

    def _pass_wave(self) -> bool:
        """Do what can be done of the wave that is next; whether it is closed and another is."""
        row = self._row
        if row.wave > len(self._settings):
            self._finish()
            return False
        wave = self._waves.get(row.wave) or WaveRow(row.source, row.name, row.number, row.wave)
        settings = self._settings[row.wave - 1]
        members = list_live_members(self._read_members(row.wave))
        if wave.end is WaveEnd.SKIPPED:
            self._move([member for member in members if not is_moved(member)])
            self._go_on()
            return True
        if not wave.opened_at:
            if _needs_approval(settings, wave, members):
                self._set_state(RolloutState.WAITING)
                self._describe(describe_wave_to_approve(row, len(members)))
                return False
            wave = replace(wave, opened_at=self._now)
            self._open(wave)
        return self._judge_open_wave(wave, settings, members)

    def _judge_open_wave(
        self, wave: WaveRow, settings: Wave, members: Sequence[RolloutMember]
    ) -> bool:
        failed = [member for member in members if has_failed(member)]
        if self._row.state is RolloutState.STOPPED or len(failed) > settings.max_failures:
            if self._row.state is not RolloutState.STOPPED:
                self._set_state(RolloutState.STOPPED, describe_failed(self._row, failed))
            self._describe(describe_wave(self._row, settings, members))
            return False
        moved = {
            member.row.target: move_member(member, self._now)
            for member in choose_moves(settings, members)
        }
        self._moved_members.extend(moved.values())
        members = [moved.get(member.row.target, member) for member in members]
        if not all(has_shown_all(member, settings) for member in members):
            self._describe(describe_wave(self._row, settings, members))
            return False
        self._write_wave(replace(wave, closed_at=self._now, end=WaveEnd.EVIDENCE))
        self._go_on()
        return True

    def _open(self, wave: WaveRow) -> None:
        self._write_wave(wave)
        self._set_state(RolloutState.RUNNING)
        self._row = replace(self._row, wave_since=self._now)
        if wave.wave == len(self._settings):
            self._row = replace(self._row, reached_at=self._now)

    def _move(self, members: Sequence[RolloutMember]) -> None:
        self._moved_members.extend(move_member(member, self._now) for member in members)

    def _go_on(self) -> None:
        self._row = replace(self._row, wave=self._row.wave + 1, wave_since=0.0)
        if self._row.wave > len(self._settings):
            self._finish()

    def _finish(self) -> None:
        self._row = replace(self._row, wave=len(self._settings))
        self._set_state(RolloutState.DONE)
        self._describe(describe_done(self._row))

    def _write_wave(self, wave: WaveRow) -> None:
        self._waves[wave.wave] = self._changed_waves[wave.wave] = wave

    def _set_state(self, state: RolloutState, reason: str = "") -> None:
        if self._row.state is not state:
            self._row = replace(
                self._row, state=state, state_since=self._now, state_reason=reason, state_by=""
            )

    def _describe(self, text: str) -> None:
        self._row = replace(self._row, description=text)


def _needs_approval(settings: Wave, wave: WaveRow, members: Sequence[RolloutMember]) -> bool:
    """Whether a person is to let the wave begin: not where it changes nothing."""
    is_asked = settings.approve and not wave.approved_by
    return is_asked and any(not has_same_inputs(member) for member in members)
