"""A rollout played in memory: heads, runs, time and people, and the rows that the rules make."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from enum import Enum
from itertools import repeat
from typing import NamedTuple, Self

from synapse_apply.controller.planned_rows import (
    HeldRow,
    HoldReason,
    Judgement,
    PlannedRow,
    RowAction,
    RowCause,
)
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import (
    ChangeCounts,
    RolloutRow,
    RolloutTargetRow,
    RunCause,
    RunOutcome,
    RunVerb,
    TargetName,
    TargetRow,
    WaveRow,
)
from synapse_apply.controller.rules import rollouts
from synapse_apply.controller.rules.assessment import assess_apply, assess_look
from synapse_apply.controller.rules.rollouts import (
    RolloutMember,
    RolloutStep,
    ShownRun,
    add_evidence,
    assign_targets_to_waves,
    choose_shown_state,
    compute_rollout_beginning,
    compute_rollout_step,
    is_newer_head_due,
)
from synapse_apply.controller.rules.targets import (
    TargetAtHead,
    target_row_after_run,
    target_rows_at_head,
)
from synapse_apply.controller.settings import Defaults, Mode, Rollout, TargetRule

RULE = TargetRule("*", Mode.AUTO)
DEFAULTS = Defaults(interval=600.0)
_GIT_ROW = PlannedRow("row1:g", "plugin.a", RowAction.UPDATE, (RowCause.GIT,))
_DRIFT_ROW = PlannedRow("row1:d", "plugin.a", RowAction.UPDATE, (RowCause.DRIFT,))


class Outcome(Enum):
    """What a run of a target ends with."""

    GOOD = "good"
    HELD_DRIFT = "held drift"
    """All that Git asks for is live; what drifted is left alone."""
    DRIFT = "drift"
    """Something drifted, which will be put right."""
    CHANGES = "changes"
    HELD = "held"
    FAILURE = "failure"
    APPLIED = "applied"


class BegunRun(NamedTuple):
    """A run that has begun: the target as it was claimed, the claim's epoch, and when."""

    target: TargetRow
    epoch: int
    began_at: float


class RolloutPlay:
    """One rollout of a source `acme`, as a loop would drive it with a store in memory."""

    def __init__(self, rollout: Rollout, now: float = 1000.0) -> None:
        self.rollout = rollout
        self.now = now
        self.number = 0
        self.keyed: tuple[TargetAtHead, ...] = ()
        self.row: RolloutRow | None = None
        self.waves: dict[tuple[int, int], WaveRow] = {}
        self.members: dict[TargetName, RolloutTargetRow] = {}
        self.targets: dict[TargetName, TargetRow] = {}

    def copy(self) -> Self:
        """A play that has come as far, and goes on by itself."""
        other = copy(self)
        # What these hold is never changed, but replaced.
        for name, value in vars(self).items():
            if isinstance(value, dict | set):
                setattr(other, name, value.copy())
        return other

    def push(
        self, digests: Mapping[str, str], labels: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """A new head, with the digest of each target that it declares."""
        self.number += 1
        self.keyed = tuple(
            TargetAtHead(TargetName("acme", name), RULE, digest, (labels or {}).get(name, {}))
            for name, digest in digests.items()
        )
        self.compare()

    def compare(self) -> None:
        """Compare the targets with the head, as at each new one and at each start."""
        assignments = assign_targets_to_waves([self.rollout], self.keyed)
        assert not any(finding.is_error for finding in assignments.findings)
        for target in target_rows_at_head(
            self.targets.values(),
            self.keyed,
            f"c{self.number}",
            self.number,
            defaults=DEFAULTS,
            now=self.now,
            chances=repeat(0.5),
            spreads_new_targets=False,
            in_rollouts=assignments.names_in_any_rollout,
        ):
            self._put_target(target)
        beginning = compute_rollout_beginning(
            self.rollout,
            self.row,
            list(self.members.values()),
            assignments.targets_by_rollout[self.rollout.name],
            commit=f"c{self.number}",
            number=self.number,
            now=self.now,
        )
        for name in beginning.removed_names:
            del self.members[name]
        self.row = beginning.rollout or self.row
        self.members |= {row.target: row for row in beginning.targets}
        self.waves |= {(row.number, row.wave): row for row in beginning.waves}
        self.advance()

    def advance(self) -> RolloutStep:
        """Take steps until nothing changes; the first step."""
        step = self._take_step()
        assert self._take_step() == RolloutStep(self.require_row())
        row = self.require_row()
        if row.number < self.number and is_newer_head_due(self.rollout, row, self.number):
            self.compare()
        return step

    def begin_run(self, name: str) -> BegunRun:
        """Claim a target."""
        target_name = TargetName("acme", name)
        target = self.targets[target_name]
        assert target.wanted_commit
        self.targets[target_name] = replace(target, epoch=target.epoch + 1)
        return BegunRun(target, target.epoch + 1, self.now)

    def end_run(self, run: BegunRun, outcome: Outcome) -> None:
        """Record how a run ended, and go on with the rollout."""
        name = run.target.name
        verb = RunVerb.APPLY if outcome is Outcome.APPLIED else RunVerb.LOOK
        result, judgement = _build_result(outcome)
        assessment = (
            assess_apply(result, judgement, RULE, None)
            if verb is RunVerb.APPLY
            else assess_look(result, judgement, RULE, None, RunCause.INTERVAL)
        )
        self._put_target(
            target_row_after_run(
                self.targets[name],
                run.target,
                "run",
                result,
                assessment,
                verb=verb,
                now=self.now,
                rule=RULE,
                defaults=DEFAULTS,
                chance=0.5,
            )
        )
        if name in self.members:
            shown_run = ShownRun(
                choose_shown_state(result, judgement, assessment, verb),
                run.target.wanted_digest,
                run.epoch,
                run.began_at,
                self.now,
            )
            self.members[name] = add_evidence(
                self.members[name], shown_run, interval=DEFAULTS.interval
            )
        self.advance()

    def look(self, *names: str, outcome: Outcome = Outcome.GOOD, seconds: float = 0.0) -> None:
        """Look at targets one after the other, each for so many seconds."""
        for name in names:
            run = self.begin_run(name)
            self.now += seconds
            self.end_run(run, outcome)

    def approve(self, wave: int, who: str = "proxy:ann") -> None:
        row = self.require_row()
        approved = rollouts.approve_wave(row, self._get_wave(wave), number=row.number, who=who)
        self.waves[row.number, wave] = approved
        self.advance()

    def skip(self, wave: int, reason: str = "urgent") -> None:
        row = self.require_row()
        self.row, self.waves[row.number, wave] = rollouts.skip_wave(
            row,
            self._get_wave(wave),
            number=row.number,
            who="proxy:ann",
            reason=reason,
            now=self.now,
        )
        self.advance()

    def resume(self) -> None:
        row = self.require_row()
        self.row, changed = rollouts.resume_rollout(
            row, self.members.values(), number=row.number, who="proxy:ann", now=self.now
        )
        self.members |= {member.target: member for member in changed}
        self.advance()

    def abort(self, reason: str = "no") -> None:
        row = self.require_row()
        self.row = rollouts.abort_rollout(
            row, number=row.number, who="proxy:ann", reason=reason, now=self.now
        )
        self.advance()

    def require_row(self) -> RolloutRow:
        assert self.row is not None
        return self.row

    def list_wanted(self) -> dict[str, int]:
        """The number of the revision at which each target is wanted, 0 for none."""
        return {name.target: row.wanted_number for name, row in self.targets.items()}

    def list_members(self, wave: int) -> list[RolloutMember]:
        return [
            RolloutMember(row, self.targets.get(row.target))
            for row in self.members.values()
            if row.wave == wave
        ]

    def _get_wave(self, wave: int) -> WaveRow:
        row = self.require_row()
        return self.waves.get((row.number, wave), WaveRow("acme", row.name, row.number, wave))

    def _take_step(self) -> RolloutStep:
        row = self.require_row()
        waves = [wave for (number, _), wave in self.waves.items() if number == row.number]
        step = compute_rollout_step(self.rollout, row, waves, self.list_members, self.now)
        self.row = step.rollout
        self.waves |= {(wave.number, wave.wave): wave for wave in step.waves}
        self.members |= {member.target: member for member in step.rollout_targets}
        for target in step.targets:
            self._put_target(target)
        return step

    def _put_target(self, row: TargetRow) -> None:
        before = self.targets.get(row.name)
        assert before is None or row.wanted_number >= before.wanted_number
        self.targets[row.name] = row


def _build_result(outcome: Outcome) -> tuple[RunResult, Judgement]:
    held_drift = HeldRow(_DRIFT_ROW, HoldReason.CAUSE)
    changes, drifted = ChangeCounts(change=1), ChangeCounts(change=1, drifted=1)
    return {
        Outcome.GOOD: (RunResult(RunOutcome.IN_SYNC), Judgement()),
        Outcome.HELD_DRIFT: (
            RunResult(RunOutcome.CHANGES, drifted, rows=(_DRIFT_ROW,)),
            Judgement(held_rows=(held_drift,)),
        ),
        Outcome.DRIFT: (
            RunResult(RunOutcome.CHANGES, drifted, rows=(_DRIFT_ROW,)),
            Judgement(permitted_rows=(_DRIFT_ROW,)),
        ),
        Outcome.CHANGES: (
            RunResult(RunOutcome.CHANGES, changes, rows=(_GIT_ROW,)),
            Judgement(permitted_rows=(_GIT_ROW,)),
        ),
        Outcome.HELD: (
            RunResult(RunOutcome.CHANGES, changes, rows=(_GIT_ROW,)),
            Judgement(held_rows=(HeldRow(_GIT_ROW, HoldReason.ACTION),)),
        ),
        Outcome.FAILURE: (RunResult(RunOutcome.PLAN_ERROR), Judgement()),
        Outcome.APPLIED: (RunResult(RunOutcome.APPLIED, changes), Judgement()),
    }[outcome]
