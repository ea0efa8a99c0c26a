"""How far a target and a wave of a rollout are, in words for pages, statuses and messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from synapse_apply.controller.rows import RolloutRow, RolloutState, TargetCondition, TargetProgress
from synapse_apply.controller.rules.rollouts.members import (
    RolloutMember,
    has_failed,
    has_shown_all,
    is_moved_to_revision,
)
from synapse_apply.controller.settings import Wave
from synapse_apply.model.phrases import format_count_and_noun

_MAX_NAMES = 3


class MemberState(Enum):
    """How far a target is with its wave; the words of people, those that need them first."""

    FAILING = "failing"
    REFUSED = "refused"
    HELD = "held"
    PAUSED = "paused"
    WAITING = "waiting"
    DRIFTED = "drifted"
    CHANGING = "changing"
    """It is to be looked at, or its rows are being applied."""
    SOAKING = "soaking"
    NOT_YET = "not yet"
    """It has not been moved: its wave is not open, or others of it are changed first."""
    SHOWN = "shown"


# Whom somebody may look for by name; the others go on by themselves.
_NAMED_STATES = frozenset(
    {
        MemberState.FAILING,
        MemberState.REFUSED,
        MemberState.HELD,
        MemberState.PAUSED,
        MemberState.WAITING,
        MemberState.DRIFTED,
    }
)
_STATES_BY_CONDITION = {
    TargetCondition.FAILING: MemberState.FAILING,
    TargetCondition.UNKNOWN: MemberState.REFUSED,
    TargetCondition.REFUSED: MemberState.REFUSED,
    TargetCondition.HELD: MemberState.HELD,
    TargetCondition.PAUSED: MemberState.PAUSED,
    TargetCondition.WAITING: MemberState.WAITING,
    TargetCondition.DRIFTED: MemberState.DRIFTED,
}


def choose_member_state(member: RolloutMember, wave: Wave | None) -> MemberState:
    """How far a target is with its wave; `wave` is None where the settings have it no more."""
    row, target = member
    if not is_moved_to_revision(member) or target is None:
        return MemberState.NOT_YET
    if has_shown_all(member, wave or Wave()):
        return MemberState.SHOWN
    if row.good_since:
        return MemberState.SOAKING
    # What the last run showed counts only of the inputs that it is to have.
    is_of_inputs = target.input_digest == row.digest or target.looked_number >= row.number
    if is_of_inputs and target.progress is TargetProgress.REFUSED:
        return MemberState.REFUSED
    if is_of_inputs and target.state in _STATES_BY_CONDITION:
        return _STATES_BY_CONDITION[target.state]
    return MemberState.FAILING if has_failed(member) else MemberState.CHANGING


def describe_wave(row: RolloutRow, wave: Wave, members: Sequence[RolloutMember]) -> str:
    """How far a wave is, such as `wave 2 of 3: 4 of 10 shown, 1 held: prod-eu, 5 not yet`."""
    names: dict[MemberState, list[str]] = {state: [] for state in MemberState}
    for member in members:
        names[choose_member_state(member, wave)].append(member.row.target.target)
    shown_count = len(names.pop(MemberState.SHOWN))
    parts = [f"{shown_count:,} of {len(members):,} shown"]
    for state, state_names in names.items():
        if state_names:
            suffix = f": {_join_names(state_names)}" if state in _NAMED_STATES else ""
            parts.append(f"{len(state_names):,} {state.value}{suffix}")
    prefix = "stopped: " if row.state is RolloutState.STOPPED else ""
    return f"{prefix}{format_wave_of_count(row)}: {', '.join(parts)}"


def describe_wave_to_approve(row: RolloutRow, target_count: int) -> str:
    """What a person is to let begin; of a reader who sees none of its targets, without a count."""
    count = f": {format_count_and_noun(target_count, 'target')}" if target_count else ""
    return f"{format_wave_of_count(row)} waits for approval{count}"


def describe_failed_targets(row: RolloutRow, failed: Iterable[RolloutMember]) -> str:
    """Why a rollout is stopped, such as `3 targets of wave 2 failed: eu-1, eu-2, eu-3`."""
    names = [member.row.target.target for member in failed]
    count_text = format_count_and_noun(len(names), "target")
    return f"{count_text} of wave {row.wave} failed: {_join_names(names)}"


def describe_done_rollout(row: RolloutRow) -> str:
    return f"all of {format_count_and_noun(row.wave_count, 'wave')} closed"


def describe_aborted_rollout(row: RolloutRow) -> str:
    """Who said that the revision goes no further, and why."""
    reason = f": {row.state_reason}" if row.state_reason else ""
    return f"aborted in {format_wave_of_count(row)} by {row.state_by}{reason}"


def format_wave_of_count(row: RolloutRow) -> str:
    """The wave that is open or comes next, such as `wave 2 of 3`."""
    return f"wave {row.wave} of {row.wave_count}"


def _join_names(names: Sequence[str]) -> str:
    hidden_count = len(names) - _MAX_NAMES
    suffix = [f"{hidden_count:,} more"] if hidden_count > 0 else []
    return ", ".join([*names[:_MAX_NAMES], *suffix])
