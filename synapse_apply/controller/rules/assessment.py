"""What a run shows of its target: the state word, how far it is, and whether an apply comes next.

A look, the judgement of its rows and what keeps the target from being applied are all that counts;
an apply is assessed by the plan that it made under the lock.
"""

from __future__ import annotations

from collections.abc import Iterable

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

# Which a person has to end, whatever the hour is.
CONDITIONS_OF_PEOPLE = frozenset(
    {
        TargetCondition.FAILING,
        TargetCondition.UNKNOWN,
        TargetCondition.REFUSED,
        TargetCondition.HELD,
    }
)
_DRIFT = (RowCause.DRIFT,)


@frozen
class Assessment:
    """What a run makes of its target.

    `is_unsettled` says that an apply did not settle what there still is to do: it is tried later.
    `is_settling` says that an open call is too young to tell whether it had an effect.
    `resumes_at` is the wall-clock time at which something is done that waits for a window or the
    end of a pause, None where nothing waits for a time. `waiting_reason` is as in TargetRow.
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
    is_acting = _is_acting(rule) and not (result.outcome.is_failure or _is_moved(judgement))
    has_work = is_acting and (bool(judgement.permitted_rows) or result.is_state_behind)
    pause = block if _is_block_of_condition(block, TargetCondition.PAUSED) else None
    block = block if has_work else None
    is_possible = has_work and block is None
    condition = _choose_condition(result, judgement, rule, block)
    # Also of what a person has to care for it is said that it is paused.
    shown_block = block or (
        pause if condition in CONDITIONS_OF_PEOPLE and _is_acting(rule) else None
    )
    return Assessment(
        condition=condition,
        progress=_choose_progress(result, judgement, rule, block),
        is_apply_next=is_possible and cause is not RunCause.APPLIED,
        is_unsettled=is_possible and cause is RunCause.APPLIED,
        is_settling=_has_unknown_outcome(judgement.waiting_rows),
        waiting_reason=_waiting_reason(judgement, shown_block) or _stricter_rule(result, rule),
        resumes_at=shown_block.until if shown_block is not None else None,
        hold_count=len(judgement.held_rows) if _is_acting(rule) else 0,
        held_guard_count=_count_held_guards(judgement) if _is_acting(rule) else 0,
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
    return Assessment(
        condition=_choose_condition(result, judgement, rule, block),
        progress=_choose_progress(result, judgement, rule, block),
        # By what ends by itself soon, or never should be.
        is_unsettled=is_stopped and block is None,
        is_settling=_has_unknown_outcome(judgement.waiting_rows),
        waiting_reason=_waiting_reason(judgement, block),
        resumes_at=block.until if block is not None else None,
        hold_count=len(judgement.held_rows),
        held_guard_count=_count_held_guards(judgement),
    )


def _is_acting(rule: TargetRule) -> bool:
    return rule.mode is not Mode.OBSERVE


def _count_held_guards(judgement: Judgement) -> int:
    return sum(map(_is_guard, judgement.held_rows))


def _choose_condition(
    result: RunResult, judgement: Judgement, rule: TargetRule, block: ApplyBlock | None
) -> TargetCondition:
    """The state word, of those that hold the one that needs a person most.

    `block` is None where there is nothing that it keeps from being done.
    """
    is_observed = not _is_acting(rule)
    counts = result.counts
    # What is observed has no apply that a guard could stop later.
    has_refusal = counts.guards > 0 or counts.refused > len(judgement.waiting_rows)
    holding = {
        TargetCondition.FAILING: result.outcome.is_failure,
        TargetCondition.UNKNOWN: _has_unknown_outcome(judgement.refused_rows),
        TargetCondition.REFUSED: bool(judgement.refused_rows) or (is_observed and has_refusal),
        TargetCondition.HELD: _is_moved(judgement)
        or (not is_observed and _is_held(judgement, rule)),
        TargetCondition.PAUSED: _is_block_of_condition(block, TargetCondition.PAUSED),
        TargetCondition.WAITING: bool(judgement.waiting_rows)
        or _is_block_of_condition(block, TargetCondition.WAITING),
        TargetCondition.IN_SYNC: result.outcome is RunOutcome.IN_SYNC,
        TargetCondition.DRIFTED: counts.drifted > 0,
    }
    return next(
        (condition for condition, holds in holding.items() if holds), TargetCondition.PENDING
    )


def _choose_progress(
    result: RunResult, judgement: Judgement, rule: TargetRule, block: ApplyBlock | None
) -> TargetProgress:
    """How far a target is with what Git asks for: what drifted is no matter of a revision."""
    refused_rows = judgement.refused_rows
    if result.outcome.is_failure:
        return TargetProgress.FAILING
    if _is_any_caused_by_git(refused_rows) or _has_unknown_outcome(refused_rows):
        return TargetProgress.REFUSED
    if _is_moved(judgement):
        return TargetProgress.HELD
    if not _is_acting(rule) or result.outcome is RunOutcome.IN_SYNC:
        return TargetProgress.DONE
    held_rows = [held_row.row for held_row in judgement.held_rows if not _is_guard(held_row)]
    is_drift_alone = bool(held_rows) and all(row.causes == _DRIFT for row in held_rows)
    if judgement.held_rows and not is_drift_alone:
        return TargetProgress.HELD
    if _is_any_caused_by_git(judgement.waiting_rows) or _has_unknown_outcome(
        judgement.waiting_rows
    ):
        return TargetProgress.WAITING
    if _is_any_caused_by_git(judgement.permitted_rows) or result.is_state_behind:
        return TargetProgress.OPEN if block is None else TargetProgress.WAITING
    return TargetProgress.DONE


def _is_held(judgement: Judgement, rule: TargetRule) -> bool:
    """Whether rows wait for a person: not what drifted where the rule leaves drift alone."""
    held_rows = [held_row for held_row in judgement.held_rows if not _is_guard(held_row)]
    if not held_rows:
        return bool(judgement.held_rows)
    # A guard that only would stop the held rows, were they approved, adds nothing to them.
    return not all(_is_drift_left_alone(held_row, rule) for held_row in held_rows)


def _is_drift_left_alone(held_row: HeldRow, rule: TargetRule) -> bool:
    leaves_drift = rule.mode is Mode.AUTO and RowCause.DRIFT not in rule.auto.causes
    is_drift = held_row.row.causes == _DRIFT
    return leaves_drift and is_drift and held_row.reason is not HoldReason.GUARD


def _is_moved(judgement: Judgement) -> bool:
    """Whether people have to accept that the target means another backend, in any mode."""
    return any(is_moved_row(held_row.row) for held_row in judgement.held_rows)


def _is_guard(held_row: HeldRow) -> bool:
    return held_row.row.action is RowAction.GUARD


def _is_block_of_condition(block: ApplyBlock | None, condition: TargetCondition) -> bool:
    return block is not None and block.condition is condition


def _has_unknown_outcome(rows: Iterable[PlannedRow]) -> bool:
    return any(row.is_outcome_unknown for row in rows)


def _is_any_caused_by_git(rows: Iterable[PlannedRow]) -> bool:
    return any(RowCause.GIT in get_causes_or_git(row) for row in rows)


def _stricter_rule(result: RunResult, rule: TargetRule) -> str:
    """Whose rule counts beside the target's own, where there is something to do; else ""."""
    is_due = bool(rule.stricter_by) and result.outcome is RunOutcome.CHANGES
    return f"the stricter rule of {rule.stricter_by} counts, too" if is_due else ""


def _waiting_reason(judgement: Judgement, block: ApplyBlock | None) -> str:
    """What is waited for, as a phrase: what keeps it from being applied, or the first row."""
    if block is not None:
        return block.phrase
    for row in judgement.waiting_rows:
        if row.action is RowAction.GUARD:
            return row.summary or row.address
        if row.is_waiting:
            return f"{row.address}: {row.refusal_reason}" if row.refusal_reason else row.address
    return ""
