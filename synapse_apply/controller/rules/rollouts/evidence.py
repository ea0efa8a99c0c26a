"""What a run of a target shows of the revision that its rollout brought it to.

What a target has shown stands beside the digest of the inputs that it was moved to, and the epoch
of its claim at that moment: a run counts that was claimed later, with these inputs. No clock is
asked for it, and no state word, which may still be that of an older commit.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from synapse_apply.controller.planned_rows import Judgement
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import RolloutTargetRow, RunOutcome, RunVerb, TargetProgress
from synapse_apply.controller.rules.assessment import Assessment
from synapse_apply.controller.settings import Wave
from synapse_apply.model.frozen import frozen

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
