"""How a revision comes to the targets of a rollout: it begins, they move, waves close."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from synapse_apply.controller.rows import (
    RolloutRow,
    RolloutState,
    RolloutTargetRow,
    RunCause,
    TargetName,
    TargetRow,
    WaveEnd,
    WaveRow,
)
from synapse_apply.controller.rules.rollouts import (
    AssignedTarget,
    RolloutMember,
    declared_members,
    describe_done_rollout,
    describe_failed_targets,
    describe_wave,
    describe_wave_to_approve,
    format_wave_of_count,
    has_failed,
    has_shown_all,
    is_done_at_revision,
    is_in_change,
    is_moved_to_revision,
    is_wanted_at_revision,
    wave_digest,
    without_evidence,
)
from synapse_apply.controller.rules.targets import target_row_at_revision
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


def choose_members_to_move(wave: Wave, members: Sequence[RolloutMember]) -> list[RolloutMember]:
    """The members of an open wave that are moved now, in the order of `members`.

    Those whose inputs stay the same are moved at once, and those that are in change already; of the
    others as many as `max_parallel` lets beside what is in change.
    """
    waiting = [member for member in members if not is_moved_to_revision(member)]
    free_count = len(waiting)
    if wave.max_parallel is not None:
        free_count = wave.max_parallel - sum(map(is_in_change, members))
    chosen = []
    for member in waiting:
        if not _is_in_change(member):
            chosen.append(member)
        elif free_count > 0:
            free_count -= 1
            chosen.append(member)
    return chosen


def build_moved_member(member: RolloutMember, now: float) -> RolloutMember:
    """A member at the revision of its rollout; it is looked at now, unless it has shown all it can.

    Where its inputs stay those that it was moved to before, what it has shown stays, too.
    ValueError for one whose target is not known.
    """
    row, target = member
    if target is None:
        raise ValueError(f"{row.target} is not known")
    moved_target = target_row_at_revision(target, row.commit, row.number, row.digest)
    if _keeps_evidence(member):
        return RolloutMember(row, moved_target)
    moved_row: RolloutTargetRow = replace(
        without_evidence(row),
        moved_digest=row.digest,
        moved_at=now,
        moved_epoch=target.epoch,
        arrived_at=now if is_done_at_revision(member) else 0.0,
    )
    return RolloutMember(moved_row, replace(moved_target, due_at=now, due_cause=RunCause.PUSH))


def _is_in_change(member: RolloutMember) -> bool:
    """Whether a move makes work for a target that has none, so that `max_parallel` counts it."""
    if is_in_change(member) or _keeps_evidence(member):
        return False
    return not is_done_at_revision(member)


def _keeps_evidence(member: RolloutMember) -> bool:
    """Whether the target has been moved to these inputs, and had no others since."""
    return member.row.moved_digest == member.row.digest and is_wanted_at_revision(member)


@frozen
class RolloutBeginning:
    """The rows that a head changes; `compute_rollout_step` then opens the first wave.

    `rollout` is None where there is none to write, `targets` are those that are other than before,
    `removed_names` those that are in the rollout no more, and `waves` rows that replace what was
    said of waves that begin anew with the same revision. One that is removed may be in another
    rollout: delete those of all rollouts before any row is written.
    """

    rollout: RolloutRow | None = None
    targets: tuple[RolloutTargetRow, ...] = ()
    removed_names: tuple[TargetName, ...] = ()
    waves: tuple[WaveRow, ...] = ()


def is_newer_head_due(rollout: Rollout, row: RolloutRow | None, head_number: int) -> bool:
    """Whether the revision of a head begins now; else it has begun, or waits for an older one.

    Only what goes on by itself or waits for an approval is finished first: what was stopped is
    mended by a commit. With other waves than it was begun with it cannot be finished.
    """
    if row is None or (row.number < head_number and row.waves_digest != wave_digest(rollout)):
        return True
    is_finished_first = rollout.new_head == "queue" and row.state in {
        RolloutState.RUNNING,
        RolloutState.WAITING,
    }
    return row.number < head_number and not is_finished_first


def compute_rollout_beginning(
    rollout: Rollout,
    before: RolloutRow | None,
    targets_before: Sequence[RolloutTargetRow],
    assigned: Sequence[AssignedTarget],
    *,
    commit: str,
    number: int,
    now: float,
) -> RolloutBeginning:
    """What the head of this commit and number makes of a rollout, with its targets at the head.

    A newer head begins at the first wave. A target whose inputs are the same keeps what it has
    shown. The same head again, as at each start, changes nothing, unless targets joined or changed
    their waves: then the first of these waves begins anew, and those behind it. A head that waits
    for the end of an older one (`new_head: queue`) only has targets leave that are gone.
    """
    rows_by_name = {row.target: row for row in targets_before}
    names = {item.name for item in assigned}
    removed_names = tuple(name for name in rows_by_name if name not in names)
    if before is not None and before.number > number:
        return RolloutBeginning()
    if before is not None and before.number == number:
        return _at_same_head(rollout, before, rows_by_name, assigned, removed_names, now)
    if not is_newer_head_due(rollout, before, number):
        return RolloutBeginning(removed_names=removed_names)
    has_reached_all = before is None or before.state is RolloutState.DONE
    row = RolloutRow(
        rollout.source,
        rollout.name,
        number,
        commit,
        now,
        len(rollout.waves),
        state_since=now,
        waves_digest=wave_digest(rollout),
        reached_at=now if has_reached_all or before is None else before.reached_at,
    )
    row = replace(row, description=format_wave_of_count(row))
    targets = _target_rows(row, rows_by_name, assigned)
    return RolloutBeginning(row, tuple(targets), removed_names)


def _at_same_head(
    rollout: Rollout,
    before: RolloutRow,
    rows_by_name: Mapping[TargetName, RolloutTargetRow],
    assigned: Sequence[AssignedTarget],
    removed_names: tuple[TargetName, ...],
    now: float,
) -> RolloutBeginning:
    changed_waves = [
        wave for item in assigned for wave in _list_changed_waves(rows_by_name.get(item.name), item)
    ]
    row = replace(before, wave_count=len(rollout.waves), waves_digest=wave_digest(rollout))
    waves: list[WaveRow] = []
    first = min(changed_waves, default=row.wave + 1)
    is_over = before.state is RolloutState.DONE and bool(changed_waves)
    if before.state is not RolloutState.ABORTED and (first <= before.wave or is_over):
        row = replace(
            row, wave=first, wave_since=0.0, state=RolloutState.RUNNING, state_since=now,
            state_reason="", state_by="",
        )  # fmt: skip
        waves = [
            WaveRow(row.source, row.name, row.number, wave)
            for wave in range(first, max(before.wave_count, row.wave_count) + 1)
        ]
    targets = [
        target
        for target in _target_rows(row, rows_by_name, assigned)
        if target != rows_by_name.get(target.target)
    ]
    return RolloutBeginning(
        row if row != before else None, tuple(targets), removed_names, tuple(waves)
    )


def _list_changed_waves(row: RolloutTargetRow | None, item: AssignedTarget) -> list[int]:
    """The waves whose targets are other than before, as far as this one is concerned."""
    if row is None:
        return [item.wave]
    return [item.wave, row.wave] if row.wave != item.wave else []


def _target_rows(
    row: RolloutRow,
    rows_by_name: Mapping[TargetName, RolloutTargetRow],
    assigned: Iterable[AssignedTarget],
) -> list[RolloutTargetRow]:
    return [_target_row(row, rows_by_name.get(item.name), item) for item in assigned]


def _target_row(
    row: RolloutRow, before: RolloutTargetRow | None, item: AssignedTarget
) -> RolloutTargetRow:
    if before is None:
        return RolloutTargetRow(item.name, row.name, item.wave, row.number, row.commit, item.digest)
    target = replace(
        before, wave=item.wave, number=row.number, commit=row.commit, digest=item.digest
    )
    if before.number == row.number:
        if before.moved_digest == before.digest != item.digest:
            # Another version of this program reads other inputs in the same revision.
            return replace(
                without_evidence(target), moved_digest=item.digest, arrived_at=before.arrived_at
            )
        return target
    # What was seen to be mended since counts no more against the newer revision.
    return replace(target, failed_at=0.0) if before.good_since else target
