"""What a run shows of its target: the state word, how far it is, and whether an apply comes next.

A look, the judgement of its rows and what keeps the target from being applied are all that counts;
an apply is assessed by the plan that it made under the lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from synapse_apply.controller.planned_rows import (
    HeldRow,
    HoldReason,
    Judgement,
    PlannedRow,
    RowAction,
    RowCause,
)
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import RunCause, RunOutcome, TargetCondition, TargetProgress
from synapse_apply.controller.rules.judging import get_causes_or_git, is_moved_row
from synapse_apply.controller.rules.permits import ApplyBlock
from synapse_apply.controller.settings import Mode, TargetRule
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import UNTOLD_PACKAGE_SUMMARY

# Which a person has to end, whatever the hour is.
CONDITIONS_OF_PEOPLE = frozenset(
    {
        TargetCondition.FAILING,
        TargetCondition.UNKNOWN,
        TargetCondition.REFUSED,
        TargetCondition.HELD,
    }
)
# Of drift that waits for a person whatever the rule says of drift.
_REASONS_OF_PEOPLE = {HoldReason.GUARD, HoldReason.BRAKE}


@frozen
class Assessment:
    """What a run makes of its target.

    `is_unsettled` says that an apply did not settle what there still is to do: it is tried later.
    `is_settling` says that an open call is too young to tell whether it had an effect.
    `resumes_at` is the wall-clock time at which something is done that waits for a window, the end
    of a pause or a brake, None where nothing waits for a time; `braked_until` is that of a brake.
    `waiting_reason` is as in TargetRow.
    """

    condition: TargetCondition
    progress: TargetProgress
    is_apply_next: bool = False
    is_unsettled: bool = False
    is_settling: bool = False
    waiting_reason: str = ""
    resumes_at: float | None = None
    hold_count: int = 0
    held_guard_count: int = 0
    braked_until: float | None = None


def assess_look(
    result: RunResult,
    judgement: Judgement,
    rule: TargetRule,
    block: ApplyBlock | None,
    cause: RunCause,
) -> Assessment:
    """What a look shows, made for `cause`; `block` keeps the target from being applied now.

    What is still to be done in the look after an apply (RunCause.APPLIED) is not applied at once:
    an object that never becomes what is declared would be changed without end.
    """
    run = _Run(result, judgement, rule)
    has_plan = run.is_acting and not (result.outcome.is_failure or run.is_moved)
    has_work = has_plan and (bool(judgement.permitted_rows) or result.is_state_behind)
    run.block = block if has_work else None
    is_possible = has_work and block is None
    condition, shown_block = run.condition(), run.block
    # Also of what a person has to care for it is said that it is paused.
    if shown_block is None and condition in CONDITIONS_OF_PEOPLE and run.is_acting:
        is_pause = block is not None and block.condition is TargetCondition.PAUSED
        shown_block = block if is_pause else None
    # Whose rule counts beside the target's own, where there is something to do.
    is_stricter = bool(rule.stricter_by) and result.outcome is RunOutcome.CHANGES
    stricter = f"the stricter rule of {rule.stricter_by} also applies" if is_stricter else ""
    return Assessment(
        condition=condition,
        progress=run.progress(),
        is_apply_next=is_possible and cause is not RunCause.APPLIED,
        is_unsettled=is_possible and cause is RunCause.APPLIED,
        is_settling=_has_unknown_outcome(judgement.waiting_rows),
        waiting_reason=_waiting_reason(judgement, shown_block)
        or stricter
        or run.untold
        or run.observed_guard
        or (run.kept_drift if condition is TargetCondition.DRIFTED else ""),
        resumes_at=_find_first_end(shown_block, judgement),
        braked_until=judgement.braked_until,
        hold_count=len(judgement.held_rows) if run.is_acting else 0,
        held_guard_count=run.held_guard_count if run.is_acting else 0,
    )


def assess_apply(
    result: RunResult, judgement: Judgement, rule: TargetRule, block: ApplyBlock | None
) -> Assessment:
    """What an apply shows, by the plan that it made; the look that follows says what is live.

    `block` is what keeps the target from being applied now that it has ended: it counts for an
    apply that was stopped.
    """
    is_stopped = result.outcome is RunOutcome.APPLY_STOPPED
    block = block if is_stopped else None
    run = _Run(result, judgement, rule, block)
    return Assessment(
        condition=run.condition(),
        progress=run.progress(),
        # By what ends by itself soon, or never should be.
        is_unsettled=is_stopped and block is None,
        is_settling=_has_unknown_outcome(judgement.waiting_rows),
        waiting_reason=_waiting_reason(judgement, block) or run.untold,
        resumes_at=_find_first_end(block, judgement),
        braked_until=judgement.braked_until,
        hold_count=len(judgement.held_rows),
        held_guard_count=run.held_guard_count,
    )


class _Run:
    """A run as it is assessed; `block` is None where it keeps nothing from being done."""

    def __init__(
        self,
        result: RunResult,
        judgement: Judgement,
        rule: TargetRule,
        block: ApplyBlock | None = None,
    ) -> None:
        self._result = result
        self._judgement = judgement
        self._rule = rule
        self.block = block
        self.is_acting = rule.mode is not Mode.OBSERVE
        # Whether people have to accept that the target means another backend, in any mode.
        self.is_moved = any(is_moved_row(held_row.row) for held_row in judgement.held_rows)
        rows = judgement.held_rows
        self._held_rows = [held for held in rows if held.row.action is not RowAction.GUARD]
        self.held_guard_count = len(rows) - len(self._held_rows)
        # Where nobody is asked to approve it.
        guards = () if self.is_acting else (held_row.row for held_row in rows)
        self.observed_guard = _first_reason(guards)
        # Of which release nobody can say whose package is live, "" of none.
        untold = (one for one in result.findings if one.summary == UNTOLD_PACKAGE_SUMMARY)
        self.untold = next(
            (f"{one.address}: it is unknown whose package is published" for one in untold), ""
        )

    @property
    def kept_drift(self) -> str:
        """Why what drifted is left alone; "" where it is about to be restored, or rows are held."""
        if not self.is_acting:
            return "mode observe applies nothing by itself"
        is_kept = self._result.outcome is RunOutcome.IN_SYNC
        return "`on_drift: hold` keeps drift" if is_kept else ""

    def condition(self) -> TargetCondition:
        """The state word, of those that hold the one that needs a person most."""
        judgement, counts, outcome = self._judgement, self._result.counts, self._result.outcome
        # What is observed has no apply that a guard could stop later.
        has_refusal = counts.guards > 0 or counts.refused > len(judgement.waiting_rows)
        blocked = self.block.condition if self.block is not None else None
        holding = {
            TargetCondition.FAILING: outcome.is_failure,
            TargetCondition.UNKNOWN: _has_unknown_outcome(judgement.refused_rows)
            or bool(self.untold),
            TargetCondition.REFUSED: bool(judgement.refused_rows)
            or (not self.is_acting and has_refusal),
            TargetCondition.HELD: self.is_moved or (self.is_acting and self._is_held()),
            TargetCondition.PAUSED: blocked is TargetCondition.PAUSED,
            TargetCondition.WAITING: bool(judgement.waiting_rows)
            or blocked is TargetCondition.WAITING,
            # Drift that is kept asks for nothing, and is drift all the same.
            TargetCondition.IN_SYNC: outcome is RunOutcome.IN_SYNC and not counts.drifted,
            TargetCondition.DRIFTED: counts.drifted > 0,
        }
        held = (condition for condition, holds in holding.items() if holds)
        return next(held, TargetCondition.PENDING)

    def progress(self) -> TargetProgress:
        """How far a target is with what Git asks for: what drifted is no matter of a revision."""
        judgement, result = self._judgement, self._result
        if result.outcome.is_failure:
            return TargetProgress.FAILING
        if _concerns_git(judgement.refused_rows):
            return TargetProgress.REFUSED
        if self.is_moved:
            return TargetProgress.HELD
        if not self.is_acting or result.outcome is RunOutcome.IN_SYNC:
            return TargetProgress.WAITING if self.untold else TargetProgress.DONE
        is_drift_alone = bool(self._held_rows) and all(map(_is_drift, self._held_rows))
        if judgement.held_rows and not is_drift_alone:
            return TargetProgress.HELD
        if _concerns_git(judgement.waiting_rows):
            return TargetProgress.WAITING
        if _is_any_caused_by_git(judgement.permitted_rows) or result.is_state_behind:
            return TargetProgress.OPEN if self.block is None else TargetProgress.WAITING
        return TargetProgress.DONE

    def _is_held(self) -> bool:
        """Whether rows wait for a person: not what drifted where the rule leaves drift alone."""
        if not self._held_rows:
            return self.held_guard_count > 0
        leaves_drift = self._rule.mode is Mode.AUTO and RowCause.DRIFT not in self._rule.auto.causes
        # A guard that only would stop the held rows, were they approved, adds nothing to them.
        return not all(
            leaves_drift and _is_drift(row) and row.reason not in _REASONS_OF_PEOPLE
            for row in self._held_rows
        )


def _find_first_end(block: ApplyBlock | None, judgement: Judgement) -> float | None:
    ends = (block.until if block is not None else None, judgement.braked_until)
    return min((end for end in ends if end is not None), default=None)


def _is_drift(held_row: HeldRow) -> bool:
    return held_row.row.causes == (RowCause.DRIFT,)


def _has_unknown_outcome(rows: Iterable[PlannedRow]) -> bool:
    return any(row.is_outcome_unknown for row in rows)


def _is_any_caused_by_git(rows: Iterable[PlannedRow]) -> bool:
    return any(RowCause.GIT in get_causes_or_git(row) for row in rows)


def _concerns_git(rows: Sequence[PlannedRow]) -> bool:
    return _is_any_caused_by_git(rows) or _has_unknown_outcome(rows)


def _waiting_reason(judgement: Judgement, block: ApplyBlock | None) -> str:
    """What is waited for, as a phrase: what keeps it from being applied, or the first row.

    And why the first row is refused.
    """
    waiting = block.phrase if block is not None else _first_reason(judgement.waiting_rows)
    return "; ".join(filter(None, (waiting, _first_reason(judgement.refused_rows))))


def _first_reason(rows: Iterable[PlannedRow]) -> str:
    for row in rows:
        if row.action is RowAction.GUARD:
            return row.summary or row.address
        if row.refusal:
            return f"{row.address}: {row.refusal_reason}" if row.refusal_reason else row.address
    return ""
