"""What is shown of a wave: its phase, its targets by revision as cells, what it waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from synapse_apply.controller.page.phrases import ConditionStyle, format_duration
from synapse_apply.controller.rows import (
    RolloutRow,
    RolloutState,
    RolloutTargetRow,
    TargetName,
    WaveEnd,
    WaveRow,
)
from synapse_apply.controller.rules.rollouts import (
    MemberState,
    RolloutMember,
    choose_member_state,
    declared_members,
    find_soak_end,
    has_failed,
    is_moved_to_revision,
)
from synapse_apply.controller.settings import Wave
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_count_and_noun

_MAX_NAMED_CELLS = 60  # more than these have no room for their names
_MAX_CELLS = 400  # more than these are counts


class WavePhase(Enum):
    """How far a wave is."""

    CLOSED = "closed"
    SKIPPED = "skipped"
    OPEN = "open"
    STOPPED = "stopped"
    WAITING = "waits for approval"
    ABORTED = "aborted"
    NOT_YET = "not yet"
    NOT_REACHED = "not reached"


PHASE_STYLES: Mapping[WavePhase, ConditionStyle] = {
    WavePhase.CLOSED: ConditionStyle(
        "closed", "good", "✓", "Each of its targets has shown what it has to."
    ),
    WavePhase.SKIPPED: ConditionStyle(
        "skipped", "moved", "»", "A person closed it without evidence."
    ),
    WavePhase.OPEN: ConditionStyle("open", "git", "→", "Its targets are brought to the revision."),
    WavePhase.STOPPED: ConditionStyle(
        "stopped", "bad", "✗", "Too many of its targets failed: a person resumes, skips or aborts."
    ),
    WavePhase.WAITING: ConditionStyle(
        "waits for approval", "moved", "=", "It begins once a person lets it."
    ),
    WavePhase.ABORTED: ConditionStyle(
        "aborted", "quiet", "■", "A person said that this revision goes no further."
    ),
    WavePhase.NOT_YET: ConditionStyle(
        "not yet", "quiet", "·", "It begins once the wave before it is closed."
    ),
    WavePhase.NOT_REACHED: ConditionStyle(
        "not reached", "quiet", "·", "The rollout was aborted before it."
    ),
}
_PHASES_OF_THE_WAVE_AT_HAND = {
    RolloutState.RUNNING: WavePhase.OPEN,
    RolloutState.WAITING: WavePhase.WAITING,
    RolloutState.STOPPED: WavePhase.STOPPED,
    RolloutState.ABORTED: WavePhase.ABORTED,
    RolloutState.DONE: WavePhase.CLOSED,
}


@frozen
class TargetCell:
    """A target in its wave. `commit` is the revision that it is to have now, "" for none yet.

    Without `has_revision` that is not the one of the rollout, and what its row has was shown of an
    older one.
    `soak_end` is when it has soaked if it goes on so, 0 where it does not soak.
    """

    row: RolloutTargetRow
    state: MemberState
    commit: str
    has_revision: bool = False
    has_failed: bool = False
    soak_end: float = 0.0
    waiting_reason: str = ""

    @property
    def name(self) -> TargetName:
        return self.row.target


class CellGroup(NamedTuple):
    """The targets of a wave that have one revision, in the order of who needs a person.

    `cells` is empty where there are too many to show: `counts` has all.
    """

    commit: str
    counts: Mapping[MemberState, int]
    cells: Sequence[TargetCell]
    has_names: bool

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@frozen
class WaveView:
    """A wave of a rollout with one revision.

    `settings` is None where the reader sees a part of the source only, or the configuration has no
    such wave any more; `row` where nothing is recorded of it yet, or may be read.
    """

    number: int
    phase: WavePhase
    settings: Wave | None
    row: WaveRow | None
    cells: Sequence[TargetCell]

    @property
    def counts(self) -> Mapping[MemberState, int]:
        """How many targets are in each state that one is in, in the order of the states."""
        counts = Counter(cell.state for cell in self.cells)
        return {state: counts[state] for state in MemberState if counts[state]}

    @property
    def failed_count(self) -> int:
        """How many count against `max_failures`."""
        return sum(cell.has_failed for cell in self.cells)

    @property
    def shown_state_count(self) -> int:
        return self.counts.get(MemberState.SHOWN, 0)

    @property
    def groups(self) -> Sequence[CellGroup]:
        """Its targets by revision, the one that most of them have first."""
        by_commit: dict[str, list[TargetCell]] = {}
        for cell in self.cells:
            by_commit.setdefault(cell.commit, []).append(cell)
        has_cells = len(self.cells) <= _MAX_CELLS
        return [
            _build_cell_group(commit, cells, has_cells=has_cells)
            for commit, cells in sorted(by_commit.items(), key=lambda item: -len(item[1]))
        ]


def build_wave_view(
    row: RolloutRow,
    number: int,
    wave_row: WaveRow | None,
    settings: Wave | None,
    members: Sequence[RolloutMember],
) -> WaveView:
    """What is shown of the wave with this number; `members` are its targets."""
    return WaveView(
        number,
        choose_wave_phase(row, number, wave_row),
        settings,
        wave_row,
        [_build_target_cell(member, settings) for member in declared_members(members)],
    )


def choose_wave_phase(row: RolloutRow, number: int, wave_row: WaveRow | None) -> WavePhase:
    """How far the wave with this number is."""
    if wave_row is not None and wave_row.end is not WaveEnd.NONE:
        return WavePhase.SKIPPED if wave_row.end is WaveEnd.SKIPPED else WavePhase.CLOSED
    if number < row.wave or row.state is RolloutState.DONE:
        return WavePhase.CLOSED
    if number == row.wave:
        return _PHASES_OF_THE_WAVE_AT_HAND[row.state]
    is_aborted = row.state is RolloutState.ABORTED
    return WavePhase.NOT_REACHED if is_aborted else WavePhase.NOT_YET


def _build_target_cell(member: RolloutMember, wave: Wave | None) -> TargetCell:
    row, target = member
    has_revision = is_moved_to_revision(member)
    return TargetCell(
        row,
        choose_member_state(member, wave),
        target.wanted_commit if target is not None else "",
        has_revision,
        has_failed(member),
        find_soak_end(row, wave or Wave()) or 0.0 if has_revision else 0.0,
        target.waiting_reason if target is not None and has_revision else "",
    )


def _build_cell_group(commit: str, cells: Sequence[TargetCell], *, has_cells: bool) -> CellGroup:
    counts = Counter(cell.state for cell in cells)
    order = list(MemberState)
    ordered = sorted(cells, key=lambda cell: (order.index(cell.state), cell.name))
    return CellGroup(
        commit,
        {state: counts[state] for state in MemberState if counts[state]},
        ordered if has_cells else (),
        len(cells) <= _MAX_NAMED_CELLS,
    )


def describe_wave_limits(wave: Wave) -> str:
    """What a wave asks for and how far it may go, as a phrase."""
    parts = []
    if wave.approve:
        parts.append("begins once a person lets it")
    if wave.soak:
        parts.append(f"soak {format_duration(wave.soak)}")
    if wave.max_parallel is not None:
        parts.append(f"at most {wave.max_parallel:,} at once")
    parts.append(
        f"stops at more than {format_count_and_noun(wave.max_failures, 'failure')}"
        if wave.max_failures
        else "stops at the first failure"
    )
    return ", ".join(parts)


def describe_wave_selection(wave: Wave) -> str:
    """Which targets a wave is for, as it stands in the configuration; "all others" for all."""
    parts = [", ".join(wave.targets), *(f"{key}={value}" for key, value in wave.labels.items())]
    return " and ".join(part for part in parts if part) or "all others"
