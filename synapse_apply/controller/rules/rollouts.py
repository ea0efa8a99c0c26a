"""Which rollout and wave a target is in, what it has shown there, and what people change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from fnmatch import fnmatchcase
from typing import NamedTuple

from synapse_apply.controller.planned_rows import Judgement
from synapse_apply.controller.ports import ActionRefused, RunResult
from synapse_apply.controller.rows import (
    RolloutRow,
    RolloutState,
    RolloutTargetRow,
    RunOutcome,
    RunVerb,
    TargetCondition,
    TargetName,
    TargetProgress,
    TargetRow,
    WaveEnd,
    WaveRow,
)
from synapse_apply.controller.rules.assessment import Assessment
from synapse_apply.controller.rules.targets import TargetAtHead
from synapse_apply.controller.settings import Mode, Rollout, Wave
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding, warning_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_count_and_noun


@frozen
class AssignedTarget:
    """A target of a rollout: its wave, counted from 1, and the digest of its inputs at the head."""

    name: TargetName
    wave: int
    digest: str


@frozen
class RolloutAssignments:
    """The targets of each rollout by its name, by wave and name, and what is wrong with them.

    With an error among the `findings` no target of the source may be moved. A warning is on
    patterns of names and of labels that match no target.
    """

    targets_by_rollout: Mapping[str, Sequence[AssignedTarget]]
    findings: tuple[Diagnostic, ...] = ()

    @property
    def names_in_any_rollout(self) -> frozenset[TargetName]:
        """Every target that belongs to a rollout."""
        return frozenset(item.name for items in self.targets_by_rollout.values() for item in items)


def wave_digest(rollout: Rollout) -> str:
    """A digest over what tells the targets of the waves apart; equal for the same patterns."""
    patterns = [[list(wave.targets), sorted(wave.labels.items())] for wave in rollout.waves]
    return hashlib.sha256(json.dumps(patterns).encode()).hexdigest()


def find_wave_number_or_none(
    rollout: Rollout, target: str, labels: Mapping[str, str]
) -> int | None:
    """The first wave, counted from 1, that matches a target; None where it is in no wave."""
    numbered = enumerate(rollout.waves, start=1)
    return next((number for number, wave in numbered if matches_wave(wave, target, labels)), None)


def matches_wave(wave: Wave, target: str, labels: Mapping[str, str]) -> bool:
    """Whether one of the wave's patterns matches the target, and all of its labels do."""
    has_name = not wave.targets or any(fnmatchcase(target, pattern) for pattern in wave.targets)
    return has_name and all(
        name in labels and fnmatchcase(labels[name], pattern)
        for name, pattern in wave.labels.items()
    )


def assign_targets_to_waves(
    rollouts: Iterable[Rollout], keyed: Sequence[TargetAtHead]
) -> RolloutAssignments:
    """The targets of a head by rollout and wave; `rollouts` are those of the head's source."""
    assigned: dict[str, list[AssignedTarget]] = {}
    findings: list[Diagnostic] = []
    owners: dict[TargetName, Rollout] = {}
    for rollout in rollouts:
        waves = {
            target.name: wave
            for target in keyed
            if (wave := find_wave_number_or_none(rollout, target.name.target, target.labels))
            is not None
        }
        assigned[rollout.name] = sorted(
            (
                AssignedTarget(target.name, waves[target.name], target.digest)
                for target in keyed
                if target.name in waves
            ),
            key=lambda item: (item.wave, item.name),
        )
        findings.extend(_shared_targets(rollout, waves, owners))
        findings.extend(_unfit_targets(rollout, waves, keyed))
        findings.extend(_empty_patterns(rollout, keyed))
        owners |= dict.fromkeys(waves, rollout)
    return RolloutAssignments(assigned, tuple(findings))


def _shared_targets(
    rollout: Rollout, waves: Mapping[TargetName, int], owners: Mapping[TargetName, Rollout]
) -> Iterator[Diagnostic]:
    for name, wave in waves.items():
        if name in owners:
            yield error_finding(
                "A target in two rollouts",
                f"{name} belongs to rollout `{owners[name].name}` and to `{rollout.name}`",
                "narrow `targets` or `labels` of the waves of one of them",
                position=_get_wave_position(rollout, wave),
            )


def _unfit_targets(
    rollout: Rollout, waves: Mapping[TargetName, int], keyed: Sequence[TargetAtHead]
) -> Iterator[Diagnostic]:
    """Targets that cannot do what their wave asks of them."""
    for target in keyed:
        wave = waves.get(target.name)
        if wave is None:
            continue
        position = _get_wave_position(rollout, wave)
        if target.rule.mode is Mode.OBSERVE:
            yield error_finding(
                "A target in mode observe is in a rollout",
                f"wave {wave} of rollout `{rollout.name}` has {target.name}, which rule "
                f"`{target.rule.pattern}` only observes: it would never have what the wave brings",
                "give it mode auto or approve, or leave it out of the waves",
                position=position,
            )
        for required in target.require_verified:
            required_wave = waves.get(target.name._replace(target=required))
            if required_wave is not None and required_wave >= wave:
                order = "the same wave" if required_wave == wave else f"wave {required_wave}"
                yield error_finding(
                    "A target waits for one of a later wave",
                    f"{target.name} is in wave {wave} of rollout `{rollout.name}` and takes only "
                    f"what was verified in {required} (`require_verified`), which is in {order}",
                    f"put {required} into an earlier wave than {target.name.target}",
                    position=position,
                )


def _empty_patterns(rollout: Rollout, keyed: Sequence[TargetAtHead]) -> Iterator[Diagnostic]:
    for number, wave in enumerate(rollout.waves, start=1):
        for pattern in wave.targets:
            if not any(fnmatchcase(target.name.target, pattern) for target in keyed):
                yield warning_finding(
                    "A pattern that matches no target",
                    f"wave {number} of rollout `{rollout.name}`: `{pattern}`",
                    "the project file at the head declares no such target; is it misspelt?",
                    position=_get_wave_position(rollout, number),
                )
        for label, pattern in wave.labels.items():
            values = {target.labels[label] for target in keyed if label in target.labels}
            if not any(fnmatchcase(value, pattern) for value in values):
                yield warning_finding(
                    "A label that no target has",
                    f"wave {number} of rollout `{rollout.name}`: `{label}: {pattern}`",
                    "the project file at the head gives no target such a label; is it misspelt?",
                    position=_get_wave_position(rollout, number),
                )


def _get_wave_position(rollout: Rollout, wave: int) -> Position | None:
    return rollout.waves[wave - 1].position or rollout.position


class RolloutMember(NamedTuple):
    """A target of a rollout: what it is there, and what is known of it; None for an unknown one."""

    row: RolloutTargetRow
    target: TargetRow | None


def declared_members(members: Iterable[RolloutMember]) -> list[RolloutMember]:
    """The members that the head declares, by name."""
    live = [member for member in members if not (member.target is None or member.target.is_gone)]
    return sorted(live, key=lambda member: member.row.target)


def is_moved_to_revision(member: RolloutMember) -> bool:
    """Whether the target is wanted at the rollout's revision, with the inputs that it has there."""
    row, target = member
    is_wanted = target is not None and target.wanted_number >= row.number
    return is_wanted and bool(row.moved_at) and row.moved_digest == row.digest


def is_wanted_at_revision(member: RolloutMember) -> bool:
    """Whether the revision asks nothing of the target that is not wanted of it already."""
    target = member.target
    return target is not None and target.wanted_digest == member.row.digest


def is_done_at_revision(member: RolloutMember) -> bool:
    """Whether the target is live with the inputs that the revision asks of it."""
    target = member.target
    if target is None or target.progress is not TargetProgress.DONE:
        return False
    return is_wanted_at_revision(member) and target.input_digest == member.row.digest


def is_in_change(member: RolloutMember) -> bool:
    """Whether the target was moved, also to an older revision, and not yet seen to have that."""
    return bool(member.row.moved_at) and not member.row.arrived_at


def has_shown_all(member: RolloutMember, wave: Wave) -> bool:
    """Whether the target has shown all that its wave asks of it.

    It was moved, its last look was good, and it looked good for as long as the wave soaks.
    """
    row = member.row
    return is_moved_to_revision(member) and bool(row.good_since) and row.soaked >= wave.soak


def has_failed(member: RolloutMember) -> bool:
    """Whether the target failed with the inputs that it has at the rollout's revision."""
    return bool(member.row.failed_at) and member.row.moved_digest == member.row.digest


# What a run of a target shows of the revision that its rollout brought it to.
#
# What a target has shown stands beside the digest of the inputs that it was moved to, and the epoch
# of its claim at that moment: a run counts that was claimed later, with these inputs. No clock is
# asked for it, and no state word, which may still be that of an older commit.

# Between two looks nobody watches. With jitter they are at most 1.2 intervals apart; where it is
# longer, since the controller was away or the clock jumped, the rest does not count.
LONGEST_GAP_INTERVALS = 1.5


class ShownState(Enum):
    """What a run shows of a target."""

    GOOD = "good"
    """Nothing is to be done there: only held drift and notes are left.

    A verification that has not passed is to be done, unless its manifest tolerates that.
    """
    OPEN = "open"
    """Something is to be done, was done, or waits; drift that will be put right, too."""
    FAILED = "failed"


@frozen
class ShownRun:
    """What a run of a target shows, and of what.

    `digest` is that of the inputs that it had (`wanted_digest` of the row that was claimed),
    `epoch` that of its claim, which was taken after whatever has a smaller one.
    """

    state: ShownState
    digest: str
    epoch: int
    began_at: float
    ended_at: float


def choose_shown_state(
    result: RunResult, judgement: Judgement, assessment: Assessment, verb: RunVerb
) -> ShownState:
    """What a run shows; an apply is never good: only the look after it shows what is live."""
    if result.outcome.is_failure or (verb is RunVerb.LOOK and assessment.is_unsettled):
        return ShownState.FAILED
    if verb is RunVerb.APPLY:
        return ShownState.OPEN
    if result.outcome is RunOutcome.IN_SYNC:
        return ShownState.GOOD
    has_more = bool(
        judgement.permitted_rows
        or judgement.refused_rows
        or judgement.waiting_rows
        or result.is_state_behind
    )
    is_done = assessment.progress is TargetProgress.DONE
    return ShownState.GOOD if is_done and not has_more else ShownState.OPEN


def add_evidence(row: RolloutTargetRow, run: ShownRun, *, interval: float) -> RolloutTargetRow:
    """A target of a rollout after a run; `interval` is the time between two looks, in seconds.

    A run counts that was claimed after the target was moved, with the inputs that it was moved to.
    The soak counts from the end of one good look to the beginning of the next, at most
    LONGEST_GAP_INTERVALS of it; any other run begins it anew.
    """
    if not row.moved_at or run.epoch <= row.moved_epoch or run.digest != row.moved_digest:
        return row
    if run.state is not ShownState.GOOD:
        is_failure = run.state is ShownState.FAILED
        row = replace(row, good_since=0.0, good_until=0.0, soaked=0.0)
        return replace(row, failed_at=run.ended_at) if is_failure else row
    gap = 0.0
    if row.good_since:
        gap = min(max(run.began_at - row.good_until, 0.0), LONGEST_GAP_INTERVALS * interval)
    return replace(
        row,
        arrived_at=row.arrived_at or run.ended_at,
        good_since=row.good_since or run.ended_at,
        good_until=run.ended_at,
        soaked=row.soaked + gap,
    )


def find_soak_end(row: RolloutTargetRow, wave: Wave) -> float | None:
    """When a look shows that the target has soaked: a wall-clock time, at which one is to be due.

    None where it does not soak, or has.
    """
    is_soaking = bool(row.good_since) and row.soaked < wave.soak
    return row.good_until + (wave.soak - row.soaked) if is_soaking else None


def without_evidence(row: RolloutTargetRow) -> RolloutTargetRow:
    """A target of a rollout that has shown nothing yet."""
    return replace(row, arrived_at=0.0, good_since=0.0, good_until=0.0, soaked=0.0, failed_at=0.0)


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


def approve_wave(row: RolloutRow, wave: WaveRow, *, number: int, who: str) -> WaveRow:
    """The wave that a person lets begin; ActionRefused where it does not wait for that."""
    _require_number(row, number)
    is_waiting = row.state is RolloutState.WAITING and not wave.approved_by
    if not is_waiting or wave.wave != row.wave:
        who_waits = f"Wave {row.wave} does." if is_waiting else "No wave does."
        raise _build_refusal(row, f"Wave {wave.wave} does not wait for an approval", who_waits)
    return replace(wave, approved_by=who)


def skip_wave(
    row: RolloutRow, wave: WaveRow, *, number: int, who: str, reason: str, now: float
) -> tuple[RolloutRow, WaveRow]:
    """The rollout and the open wave that a person closes without evidence.

    `compute_rollout_step` then moves what is left of the wave, and goes on. ActionRefused where the
    wave is not open.
    """
    _require_number(row, number)
    is_open = row.state in {RolloutState.RUNNING, RolloutState.STOPPED} and bool(row.wave_since)
    if not is_open or wave.wave != row.wave:
        raise _build_refusal(
            row, f"Wave {wave.wave} is not open", "Only the open wave can be closed this way."
        )
    wave = replace(wave, closed_at=now, end=WaveEnd.SKIPPED, closed_by=who, reason=reason)
    return _build_running_rollout(row, who, now), wave


def resume_rollout(
    row: RolloutRow, targets: Iterable[RolloutTargetRow], *, number: int, who: str, now: float
) -> tuple[RolloutRow, tuple[RolloutTargetRow, ...]]:
    """The rollout that goes on, and its targets that failed, whose failures count anew.

    They are to be looked at now. ActionRefused where it is not stopped.
    """
    _require_number(row, number)
    if row.state is not RolloutState.STOPPED:
        raise _build_refusal(row, "The rollout is not stopped", "There is nothing to resume.")
    failed = tuple(replace(target, failed_at=0.0) for target in targets if target.failed_at)
    return _build_running_rollout(row, who, now), failed


def abort_rollout(row: RolloutRow, *, number: int, who: str, reason: str, now: float) -> RolloutRow:
    """The rollout whose revision goes no further; ActionRefused where it has ended."""
    _require_number(row, number)
    if row.state.is_over:
        raise _build_refusal(row, "The rollout has ended", f"It is {row.state.value}.")
    row = replace(
        row, state=RolloutState.ABORTED, state_since=now, state_reason=reason, state_by=who
    )
    return replace(row, description=describe_aborted_rollout(row))


def _require_number(row: RolloutRow, number: int) -> None:
    if row.number != number:
        raise _build_refusal(
            row, "The rollout brings another revision by now", f"It is {row.commit}."
        )


def _build_running_rollout(row: RolloutRow, who: str, now: float) -> RolloutRow:
    if row.state is RolloutState.RUNNING:
        return row
    return replace(row, state=RolloutState.RUNNING, state_since=now, state_reason="", state_by=who)


def _build_refusal(row: RolloutRow, summary: str, detail: str) -> ActionRefused:
    return ActionRefused.from_summary(
        summary,
        f"{row.name}: {row.state.value}. {detail}",
        Text("See how far it is: ", Command("controller rollout status", row.name), "."),
    )
