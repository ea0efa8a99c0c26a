"""Which rule a target has, which targets a head touches, and what a run makes of a target."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase

from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import (
    END_OF_BRAKE,
    END_OF_PAUSE,
    END_OF_ROLLBACK,
    Rollback,
    RunCause,
    RunningJobsSeen,
    RunOutcome,
    RunRow,
    RunVerb,
    TargetCondition,
    TargetName,
    TargetProgress,
    TargetRow,
)
from synapse_apply.controller.rules.assessment import Assessment
from synapse_apply.controller.rules.due import (
    SETTLING_SECONDS,
    compute_retry_delay,
    get_interval_or_default,
    spread_delay,
    vary_by_jitter,
)
from synapse_apply.controller.settings import Defaults, Mode, Source, TargetRule
from synapse_apply.model.frozen import frozen, replace


def find_rule(source: Source, target: str) -> TargetRule | None:
    """The first rule that matches a target's name; None for one that is left alone."""
    return next((rule for rule in source.rules if fnmatchcase(target, rule.pattern)), None)


@frozen
class TargetAtHead:
    """A target that a head declares, and the digest of its inputs there.

    `labels` and `require_verified` are as in LabelledTarget.
    """

    name: TargetName
    rule: TargetRule
    digest: str
    labels: Mapping[str, str] = field(default_factory=dict)
    require_verified: tuple[str, ...] = ()


def target_rows_at_head(
    rows: Iterable[TargetRow],
    keyed: Sequence[TargetAtHead],
    commit: str,
    number: int,
    *,
    defaults: Defaults,
    now: float,
    chances: Iterable[float],
    spreads_new_targets: bool,
    new_count: int = 0,
    in_rollouts: Collection[TargetName] = (),
) -> list[TargetRow]:
    """The rows of a source's targets, or of some of them, as a new head makes them.

    Every target is to be at the head. One whose inputs are not those of its last good look is
    touched, and due at once; one with the same inputs that is not done with them is touched, too.
    A new one is due soon; with `spreads_new_targets` many are spread over their interval, by how
    many are new in all (`new_count`; where it is not given, in `keyed`). One
    that the head does not declare, or no rule matches, is gone. Those `in_rollouts` stay at the
    revision that they have, a new one at none, until their rollout moves them. One that was rolled
    back stays where it is; where the head has other inputs for it, a look says what they change.
    """
    rows_by_name = {row.name: row for row in rows}
    new_count = new_count or sum(
        target.name not in rows_by_name or rows_by_name[target.name].is_gone for target in keyed
    )
    moved = []
    for target, chance in zip(keyed, chances, strict=False):
        row = rows_by_name.pop(target.name, TargetRow(target.name, is_gone=True))
        is_new, has_same_inputs = row.is_gone, row.input_digest == target.digest
        if row.rollback is not None and not is_new:
            if row.head_digest != target.digest:
                row = replace(row, due_at=now, due_cause=RunCause.PUSH)
            moved.append(replace(row, head_digest=target.digest, touched_number=number))
            continue
        if is_new:
            # What was told of it before it was gone is over: a new failure is told anew.
            row = replace(row, state=TargetCondition.NOT_LOOKED_AT, failures=0, rollback=None)
        is_done = has_same_inputs and row.progress is TargetProgress.DONE
        if target.name in in_rollouts and row.wanted_number != number:
            if is_new:
                # What it had before it was gone is not applied again until its wave comes.
                row = replace(row, wanted_commit="", wanted_digest="")
            is_done = is_done and row.wanted_digest == target.digest
            row = replace(row, head_digest=target.digest, is_gone=False)
        else:
            # Compared again for the same head, as at each start, nothing is due sooner.
            is_other = row.wanted_number != number or row.wanted_digest != target.digest
            row = target_row_at_revision(row, commit, number, target.digest)
            row = replace(row, head_digest=target.digest, is_gone=False)
            if is_new and spreads_new_targets:
                delay = spread_delay(
                    get_interval_or_default(target.rule, defaults), new_count, chance
                )
                row = replace(row, due_at=now + delay, due_cause=RunCause.INTERVAL)
            elif is_new or (is_other and not has_same_inputs):
                row = replace(row, due_at=now, due_cause=RunCause.PUSH)
        if not is_done:
            row = replace(row, touched_number=number)
        moved.append(row)
    gone = (row for row in rows_by_name.values() if not row.is_gone)
    moved.extend(replace(row, is_gone=True, rollback=None) for row in gone)
    return moved


# What a target shows that is rolled back says less than that it is.
_HIDDEN_BY_ROLLBACK = frozenset(
    {TargetCondition.DRIFTED, TargetCondition.PENDING, TargetCondition.IN_SYNC}
)


def target_row_rolled_back(row: TargetRow, rollback: Rollback, now: float) -> TargetRow:
    """A target that a person rolls back: it is looked at now, at its earlier commit."""
    is_hidden = row.state in _HIDDEN_BY_ROLLBACK
    return replace(
        row,
        rollback=rollback,
        wanted_commit=rollback.commit,
        wanted_digest=rollback.digest,
        state=TargetCondition.ROLLED_BACK if is_hidden else row.state,
        changed_at=now,
        progress=TargetProgress.OPEN,
        waiting_reason=rollback.phrase,
        due_at=now,
        due_cause=RunCause.ASKED,
    )


def target_row_without_rollback(row: TargetRow, now: float, cause: RunCause) -> TargetRow:
    """A target whose rollback has ended, at what it is to be at then; it is looked at now."""
    was_shown = row.state is TargetCondition.ROLLED_BACK
    return replace(
        row,
        rollback=None,
        state=TargetCondition.PENDING if was_shown else row.state,
        changed_at=now if was_shown else row.changed_at,
        waiting_reason="",
        due_at=now,
        due_cause=cause,
        due_detail=END_OF_ROLLBACK,
    )


def target_row_at_revision(row: TargetRow, commit: str, number: int, digest: str) -> TargetRow:
    """A target that is to be at a revision, with the digest of its inputs there.

    How far it is there is open, unless it is known of the same inputs: a failure at an older
    revision says nothing of this one, and what was in sync there is pending here.
    """
    if (row.wanted_number, row.wanted_digest) == (number, digest):
        return replace(row, wanted_commit=commit)
    is_known = row.input_digest == digest and row.progress is not TargetProgress.FAILING
    was_in_sync = row.state is TargetCondition.IN_SYNC and row.input_digest != digest
    return replace(
        row,
        state=TargetCondition.PENDING if was_in_sync else row.state,
        wanted_commit=commit,
        wanted_number=number,
        wanted_digest=digest,
        progress=row.progress if is_known else TargetProgress.OPEN,
    )


def is_same_as_last_run(last: RunRow | None, run: RunRow, *, has_same_inputs: bool) -> bool:
    """Whether a look found what the last one found, so that it is a time in a row of that."""
    return (
        last is not None
        and last.outcome is run.outcome
        and last.result_digest == run.result_digest
        and (last.commit == run.commit or has_same_inputs)
    )


def target_row_after_run(
    row: TargetRow,
    begun: TargetRow,
    run_id: str,
    result: RunResult,
    assessment: Assessment,
    *,
    verb: RunVerb,
    now: float,
    rule: TargetRule,
    defaults: Defaults,
    chance: float,
) -> TargetRow:
    """A target after a run, which ended at `now`; `begun` is its row when it was claimed.

    `run_id` is the run that it is, or is a time in a row of. `row` is as it is now: where a new
    head came meanwhile, its due time stands. A failure with other inputs than those of the last
    good look undoes that one, so that a head which goes back to them is looked at.
    """
    is_failure, is_look = result.outcome.is_failure, verb is RunVerb.LOOK
    # Failures in a row; only a look after which nothing is to be done at once ends them.
    failures = row.failures if not is_look or assessment.is_apply_next else 0
    if is_failure or assessment.is_unsettled:
        failures = row.failures + 1
    # The state word: what fails is failing until it is done, also in the looks between.
    condition, between = assessment.condition, {TargetCondition.PENDING, TargetCondition.DRIFTED}
    if row.state is TargetCondition.FAILING and failures and condition in between:
        condition = row.state
    waiting_reason = assessment.waiting_reason
    if row.rollback is not None:
        if condition in _HIDDEN_BY_ROLLBACK:
            condition = TargetCondition.ROLLED_BACK
        waiting_reason = "; ".join(filter(None, (waiting_reason, row.rollback.phrase)))
    is_same_input = row.input_digest == begun.wanted_digest
    input_digest = "" if is_failure and not is_same_input else begun.wanted_digest
    # Whether all that Git asks for is live: nothing differs, or only what drifted since.
    is_done = assessment.progress is TargetProgress.DONE and rule.mode is not Mode.OBSERVE
    is_live = (is_look and is_done) or result.outcome is RunOutcome.IN_SYNC
    # Those of this look; an apply does not ask for them, nor a look that made no plan.
    running_jobs = row.running_jobs
    if is_look and not is_failure:
        seen = result.running_jobs
        running_jobs = replace(seen, seen_at=now) if seen else RunningJobsSeen()
    updated = replace(
        row,
        state=condition,
        counts=result.counts,
        failures=failures,
        last_run=run_id,
        looked_at=now,
        looked_number=begun.wanted_number,
        changed_at=row.changed_at if condition is row.state else now,
        applied_commit=begun.wanted_commit if is_live else row.applied_commit,
        live_digest=begun.wanted_digest if is_live else row.live_digest,
        applied_at=now if _has_made_calls(result) else row.applied_at,
        input_digest=input_digest,
        backend_host=result.backend_host or row.backend_host,
        waiting_reason=waiting_reason,
        hold_count=assessment.hold_count,
        held_guard_count=assessment.held_guard_count,
        mode=rule.mode,
        running_jobs=running_jobs,
        progress=_choose_progress(row, begun, assessment, failures, is_same_input=is_same_input),
    )
    if (row.due_at, row.due_cause) != (begun.due_at, begun.due_cause):
        return updated  # a new head, or a person, asked for another look meanwhile
    if row.wanted_digest != begun.wanted_digest:
        # A new head took back what this run saw, before that was known to matter.
        return replace(updated, due_at=now, due_cause=RunCause.PUSH)
    due_at, cause = _next_due(
        updated, result, assessment, verb, now=now, rule=rule, defaults=defaults, chance=chance
    )
    # What a block ends with, where that is why.
    is_window = assessment.condition is TargetCondition.WAITING
    detail = "a window that opened" if is_window else END_OF_PAUSE
    if assessment.braked_until is not None and assessment.braked_until == assessment.resumes_at:
        detail = END_OF_BRAKE
    return replace(updated, due_at=due_at, due_cause=cause, due_detail=detail)


def _has_made_calls(result: RunResult) -> bool:
    return bool(result.calls.done or result.calls.failed or result.calls.unknown)


def _choose_progress(
    row: TargetRow, begun: TargetRow, assessment: Assessment, failures: int, *, is_same_input: bool
) -> TargetProgress:
    """How far a target is after a run. What was done once is not undone by a later failure.

    That is no matter of the revision: a backend that does not answer, drift that cannot be put
    right. What fails is failing until it is done.
    """
    progress = assessment.progress
    if row.wanted_digest != begun.wanted_digest:
        return row.progress
    if progress is TargetProgress.FAILING and is_same_input and row.progress is TargetProgress.DONE:
        return row.progress
    if progress is TargetProgress.OPEN and failures and row.progress is TargetProgress.FAILING:
        return row.progress
    return progress


def _next_due(
    row: TargetRow,
    result: RunResult,
    assessment: Assessment,
    verb: RunVerb,
    *,
    now: float,
    rule: TargetRule,
    defaults: Defaults,
    chance: float,
) -> tuple[float, RunCause]:
    """When a target is looked at next after a run, and why; `row` counts its failures."""
    if assessment.is_apply_next:
        # The apply comes at once. Should it not, it is still due.
        return row.due_at, row.due_cause
    if result.outcome.is_failure or assessment.is_unsettled:
        return now + compute_retry_delay(row.failures, defaults, chance), RunCause.RETRY
    # One that was stopped in its middle has done a part: what is shown is else the plan before it.
    is_ended = result.outcome is not RunOutcome.APPLY_STOPPED or _has_made_calls(result)
    if verb is RunVerb.APPLY and is_ended:
        return now, RunCause.APPLIED
    if assessment.is_settling:
        # No backoff: it is known soon, and nothing is asked of a person until then.
        return now + vary_by_jitter(SETTLING_SECONDS, defaults.jitter, chance), RunCause.RETRY
    interval_end = now + vary_by_jitter(
        get_interval_or_default(rule, defaults), defaults.jitter, chance
    )
    if assessment.resumes_at is not None and assessment.resumes_at < interval_end:
        return max(assessment.resumes_at, now), RunCause.RESUMED
    return interval_end, RunCause.INTERVAL
