"""Which rollout and wave a target is in, what it has shown there, how waves open and close."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from typing import NamedTuple

from synapse_apply.controller.planned_rows import Judgement
from synapse_apply.controller.ports import ActionRefused, RunResult
from synapse_apply.controller.rows import (
    PauseRow,
    RolloutRow,
    RolloutState,
    RolloutTargetRow,
    RunCause,
    RunOutcome,
    RunVerb,
    TargetCondition,
    TargetName,
    TargetProgress,
    TargetRow,
    WaveEnd,
    WaveRow,
    say,
)
from synapse_apply.controller.rules.assessment import Assessment
from synapse_apply.controller.rules.targets import TargetAtHead, target_row_at_revision
from synapse_apply.controller.settings import DAY, Mode, Rollout, Wave
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.frozen import frozen, replace
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
    for number, wave in enumerate(rollout.waves, start=1):
        # One of its patterns matches the target, and all of its labels do.
        has_name = not wave.targets or any(fnmatchcase(target, pattern) for pattern in wave.targets)
        if has_name and all(
            name in labels and fnmatchcase(labels[name], pattern)
            for name, pattern in wave.labels.items()
        ):
            return number
    return None


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
        of_waves = (target for target in keyed if target.name in waves)
        targets = [AssignedTarget(one.name, waves[one.name], one.digest) for one in of_waves]
        assigned[rollout.name] = sorted(targets, key=lambda item: (item.wave, item.name))
        findings.extend(_findings(rollout, waves, owners, keyed))
        owners |= dict.fromkeys(waves, rollout)
    return RolloutAssignments(assigned, tuple(findings))


def _findings(
    rollout: Rollout,
    waves: Mapping[TargetName, int],
    owners: Mapping[TargetName, Rollout],
    keyed: Sequence[TargetAtHead],
) -> Iterator[Diagnostic]:
    """What is wrong with a rollout; `owners` are the rollouts that its targets are in already."""
    positions = {
        number: wave.position or rollout.position
        for number, wave in enumerate(rollout.waves, start=1)
    }
    for name, wave in waves.items():
        if name in owners:
            yield error_finding(
                "A target is in two rollouts",
                f"{name} belongs to rollout `{owners[name].name}` and to `{rollout.name}`",
                "narrow `targets` or `labels` in the waves of one of them",
                position=positions[wave],
            )
    # Targets that cannot do what their wave asks of them.
    for target in keyed:
        wave = waves.get(target.name, 0)
        if wave and target.rule.mode is Mode.OBSERVE:
            yield error_finding(
                "A rollout includes a target in mode observe",
                f"wave {wave} of rollout `{rollout.name}` has {target.name}, which rule "
                f"`{target.rule.pattern}` only observes: the wave could never change it",
                "set its mode to auto or approve, or exclude it from the waves",
                position=positions[wave],
            )
        for required in target.require_verified if wave else ():
            required_wave = waves.get(target.name._replace(target=required), 0)
            if required_wave >= wave:
                order = "the same wave" if required_wave == wave else f"wave {required_wave}"
                yield error_finding(
                    "A target waits for a target of a later wave",
                    f"{target.name} is in wave {wave} of rollout `{rollout.name}` and needs a "
                    f"verification in {required} (`require_verified`), which is in {order}",
                    f"move {required} to an earlier wave than {target.name.target}",
                    position=positions[wave],
                )
    for number, settings in enumerate(rollout.waves, start=1):
        for pattern in settings.targets:
            if not any(fnmatchcase(target.name.target, pattern) for target in keyed):
                yield warning_finding(
                    "The pattern matches no target",
                    f"wave {number} of rollout `{rollout.name}`: `{pattern}`",
                    "the project file at the head declares no such target; check the spelling",
                    position=positions[number],
                )
        for label, pattern in settings.labels.items():
            values = {target.labels[label] for target in keyed if label in target.labels}
            if not any(fnmatchcase(value, pattern) for value in values):
                yield warning_finding(
                    "No target has this label",
                    f"wave {number} of rollout `{rollout.name}`: `{label}: {pattern}`",
                    "the project file at the head gives no target such a label; check the spelling",
                    position=positions[number],
                )


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


def is_rolled_back(member: RolloutMember) -> bool:
    """Whether a person has rolled the target back: it is not moved until that ends."""
    return member.target is not None and member.target.rollback is not None


def can_be_moved(member: RolloutMember) -> bool:
    """Whether the target is not yet moved to the rollout's revision, and may be."""
    return not (is_moved_to_revision(member) or is_rolled_back(member))


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
    ROLLED_BACK = "rolled back"
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
        MemberState.ROLLED_BACK,
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
    if is_rolled_back(member):
        return MemberState.ROLLED_BACK
    if target is not None and find_pause_of_abort(row):
        return MemberState.PAUSED
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
    """How far a wave is, such as `wave 2 of 3: 4 of 10 healthy, 1 failing: prod-eu, 5 not yet`."""
    names: dict[MemberState, list[str]] = {state: [] for state in MemberState}
    for member in members:
        names[choose_member_state(member, wave)].append(member.row.target.target)
    shown_count = len(names.pop(MemberState.SHOWN))
    parts = [f"{shown_count:,} of {len(members):,} healthy"]
    for state, state_names in names.items():
        if state_names:
            suffix = f": {_join_names(state_names)}" if state in _NAMED_STATES else ""
            parts.append(f"{len(state_names):,} {say(state.value)}{suffix}")
    prefix = "stopped: " if row.state is RolloutState.STOPPED else ""
    return f"{prefix}{format_wave_of_count(row)}: {', '.join(parts)}"


def describe_wave_to_approve(row: RolloutRow, target_count: int) -> str:
    """What a person is to let begin; of a reader who sees none of its targets, without a count."""
    count = f": {format_count_and_noun(target_count, 'target')}" if target_count else ""
    return f"{format_wave_of_count(row)} awaits approval{count}"


def describe_failed_targets(row: RolloutRow, failed: Iterable[RolloutMember]) -> str:
    """Why a rollout is stopped, such as `3 targets of wave 2 failed: eu-1, eu-2, eu-3`."""
    names = [member.row.target.target for member in failed]
    count_text = format_count_and_noun(len(names), "target")
    return f"{count_text} of wave {row.wave} failed: {_join_names(names)}"


def describe_done_rollout(row: RolloutRow) -> str:
    return f"{format_count_and_noun(row.wave_count, 'wave')} closed"


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
        who_waits = f"Wave {row.wave} is." if is_waiting else "No wave is."
        raise _build_refusal(row, f"Wave {wave.wave} is not awaiting approval", who_waits)
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
            row, f"Wave {wave.wave} is not open", "You can skip only the open wave."
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
        raise _build_refusal(row, "The rollout has ended", f"It is {say(row.state.value)}.")
    row = replace(
        row, state=RolloutState.ABORTED, state_since=now, state_reason=reason, state_by=who
    )
    return replace(row, description=describe_aborted_rollout(row))


def hold_targets_in_change(targets: Iterable[RolloutTargetRow]) -> list[RolloutTargetRow]:
    """Those of an aborted rollout that were moved and not seen to have that: it is held from them.

    They have been moved to no inputs any more: nothing is applied until a later revision comes to
    their wave.
    """
    in_change = (target for target in targets if target.moved_at and not target.arrived_at)
    return [replace(without_evidence(target), moved_digest="") for target in in_change]


def find_pause_of_abort(target: RolloutTargetRow) -> PauseRow | None:
    """The pause of a target that `hold_targets_in_change` gave; None for any other one."""
    if not target.moved_at or target.moved_digest:
        return None
    reason = "it was aborted while the target changed; a later commit ends the pause"
    return PauseRow("*", f"rollout {target.rollout}", reason, target.moved_at, float("inf"))


def without_move(row: RolloutTargetRow) -> RolloutTargetRow:
    """A target of a rollout that is rolled back: it has been moved to nothing, and shown nothing.

    What an abort has paused is paused no more: it does not stay where that stopped it.
    """
    return replace(without_evidence(row), moved_digest="", moved_at=0.0, moved_epoch=0)


def build_resumed_member(
    rollout: RolloutRow | None, member: RolloutMember, now: float
) -> RolloutMember:
    """A member whose rollback has ended, with what its rollout makes of it.

    Where its wave has not come, or is open, that is done by the next step. A closed wave is not
    asked again, so it is moved now. An aborted revision goes no further: it is paused.
    """
    row = member.row
    if rollout is None or rollout.number != row.number:
        return member
    if rollout.state is RolloutState.ABORTED:
        was_moved = is_wanted_at_revision(member)
        return member._replace(row=replace(row, moved_at=now)) if was_moved else member
    is_closed = rollout.state is RolloutState.DONE or row.wave < rollout.wave
    return build_moved_member(member, now) if is_closed else member


def _require_number(row: RolloutRow, number: int) -> None:
    if row.number != number:
        raise _build_refusal(
            row, "The rollout now has a different revision", f"Its revision is {row.commit}."
        )


def _build_running_rollout(row: RolloutRow, who: str, now: float) -> RolloutRow:
    if row.state is RolloutState.RUNNING:
        return row
    return replace(row, state=RolloutState.RUNNING, state_since=now, state_reason="", state_by=who)


def _build_refusal(row: RolloutRow, summary: str, detail: str) -> ActionRefused:
    return ActionRefused.from_summary(
        summary,
        f"{row.name}: {say(row.state.value)}. {detail}",
        Text("See its progress: ", Command("controller rollout status", row.name), "."),
    )


# How a revision comes to the targets of a rollout: it begins, they move, waves close.

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
    step = _StepComputation(rollout, row, waves, now)
    while not step.row.state.is_over and step.advance_wave(read_members):
        pass
    return RolloutStep(step.row, tuple(step.changed_waves.values()), tuple(step.moved_members))


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
        self, rollout: Rollout, row: RolloutRow, waves: Sequence[WaveRow], now: float
    ) -> None:
        self._settings = rollout.waves
        self.row = row
        self._waves = {wave.wave: wave for wave in waves}
        self._now = now
        self.changed_waves: dict[int, WaveRow] = {}
        self.moved_members: list[RolloutMember] = []

    def advance_wave(self, read_members: Callable[[int], Sequence[RolloutMember]]) -> bool:
        """Do what can be done of the wave that is next; whether it is closed and another is."""
        row = self.row
        if row.wave > len(self._settings):
            self._finish()
            return False
        wave = self._waves.get(row.wave) or WaveRow(row.source, row.name, row.number, row.wave)
        settings = self._settings[row.wave - 1]
        members = declared_members(read_members(row.wave))
        if wave.end is WaveEnd.SKIPPED:
            self._move([member for member in members if can_be_moved(member)])
            return self._go_on()
        if not wave.opened_at:
            # A person is to let it begin: not where it changes nothing.
            is_asked = settings.approve and not wave.approved_by
            if is_asked and any(not is_wanted_at_revision(member) for member in members):
                text = describe_wave_to_approve(row, len(members))
                return self._stay(RolloutState.WAITING, text)
            wave = replace(wave, opened_at=self._now)
            self._waves[wave.wave] = self.changed_waves[wave.wave] = wave
            self._set_state(RolloutState.RUNNING)
            self.row = replace(self.row, wave_since=self._now)
            if wave.wave == len(self._settings):
                self.row = replace(self.row, reached_at=self._now)
        failed = [member for member in members if has_failed(member)]
        if self.row.state is RolloutState.STOPPED or len(failed) > settings.max_failures:
            self._set_state(RolloutState.STOPPED, describe_failed_targets(self.row, failed))
            return self._stay(self.row.state, describe_wave(self.row, settings, members))
        moved = self._move(choose_members_to_move(settings, members))
        members = [moved.get(member.row.target, member) for member in members]
        if not all(has_shown_all(member, settings) for member in members):
            return self._stay(self.row.state, describe_wave(self.row, settings, members))
        wave = replace(wave, closed_at=self._now, end=WaveEnd.EVIDENCE)
        self._waves[wave.wave] = self.changed_waves[wave.wave] = wave
        return self._go_on()

    def _move(self, members: Sequence[RolloutMember]) -> Mapping[TargetName, RolloutMember]:
        moved = {member.row.target: build_moved_member(member, self._now) for member in members}
        self.moved_members.extend(moved.values())
        return moved

    def _go_on(self) -> bool:
        self.row = replace(self.row, wave=self.row.wave + 1, wave_since=0.0)
        if self.row.wave > len(self._settings):
            self._finish()
        return True

    def _finish(self) -> None:
        self.row = replace(self.row, wave=len(self._settings))
        self._stay(RolloutState.DONE, describe_done_rollout(self.row))

    def _stay(self, state: RolloutState, description: str) -> bool:
        self._set_state(state)
        self.row = replace(self.row, description=description)
        return False

    def _set_state(self, state: RolloutState, reason: str = "") -> None:
        """With the time and the reason of the first time that it came to it."""
        if self.row.state is not state:
            self.row = replace(
                self.row, state=state, state_since=self._now, state_reason=reason, state_by=""
            )


def choose_members_to_move(wave: Wave, members: Sequence[RolloutMember]) -> list[RolloutMember]:
    """The members of an open wave that are moved now, in the order of `members`.

    Those whose inputs stay the same are moved at once, and those that are in change already; of the
    others as many as `max_parallel` lets beside what is in change.
    """
    waiting = [member for member in members if can_be_moved(member)]
    free_count = len(waiting)
    if wave.max_parallel is not None:
        free_count = wave.max_parallel - sum(map(is_in_change, members))
    chosen = []
    for member in waiting:
        # Whether a move makes no work for it, or it has some already.
        is_free = is_in_change(member) or _keeps_evidence(member) or is_done_at_revision(member)
        if is_free or free_count > 0:
            free_count -= not is_free
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
    targets = [_target_row(row, rows_by_name.get(item.name), item) for item in assigned]
    return RolloutBeginning(row, tuple(targets), removed_names)


def _at_same_head(
    rollout: Rollout,
    before: RolloutRow,
    rows_by_name: Mapping[TargetName, RolloutTargetRow],
    assigned: Sequence[AssignedTarget],
    removed_names: tuple[TargetName, ...],
    now: float,
) -> RolloutBeginning:
    # The waves whose targets are other than before.
    changed_waves: list[int] = []
    for item in assigned:
        known = rows_by_name.get(item.name)
        if known is None or known.wave != item.wave:
            changed_waves += [item.wave, known.wave] if known else [item.wave]
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
    targets = [_target_row(row, rows_by_name.get(item.name), item) for item in assigned]
    changed = [target for target in targets if target != rows_by_name.get(target.target)]
    return RolloutBeginning(
        row if row != before else None, tuple(changed), removed_names, tuple(waves)
    )


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
