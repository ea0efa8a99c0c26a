"""Which rule a target has, which targets a head touches, and what a look makes of a target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import (
    RunCause,
    RunOutcome,
    RunRow,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.due import (
    compute_first_delay,
    compute_retry_delay,
    get_interval,
    vary_by_jitter,
)
from synapse_apply.controller.settings import Defaults, Source, TargetRule
from synapse_apply.model.frozen import frozen


def find_rule(source: Source, target: str) -> TargetRule | None:
    """The first rule that matches a target's name; None for one that is left alone."""
    return next((rule for rule in source.rules if fnmatchcase(target, rule.pattern)), None)


@frozen
class KeyedTarget:
    """A target that a head declares, and the digest of its inputs there."""

    name: TargetName
    rule: TargetRule
    digest: str


def move_to_head(
    rows: Iterable[TargetRow],
    keyed: Sequence[KeyedTarget],
    commit: str,
    number: int,
    *,
    defaults: Defaults,
    now: float,
    chances: Iterable[float],
    is_spread: bool,
) -> list[TargetRow]:
    """The rows of a source's targets as a new head makes them.

    Every target is to be at the head. One whose inputs are not those of its last good look is
    touched, and due at once; a new one is due soon, and where `is_spread` many new ones are spread
    over their interval. One that the head does not declare, or no rule matches, is gone.
    """
    rows_by_name = {row.name: row for row in rows}
    new_count = sum(
        target.name not in rows_by_name or rows_by_name[target.name].is_gone for target in keyed
    )
    moved = []
    for target, chance in zip(keyed, chances, strict=False):
        row = rows_by_name.pop(target.name, TargetRow(target.name, is_gone=True))
        is_new, is_done = row.is_gone, row.input_digest == target.digest
        # Compared again for the same head, as at each start, nothing is due sooner.
        is_other = row.wanted_number != number or row.wanted_digest != target.digest
        row = replace(
            row,
            wanted_commit=commit,
            wanted_number=number,
            wanted_digest=target.digest,
            is_gone=False,
        )
        if is_new and is_spread:
            delay = compute_first_delay(get_interval(target.rule, defaults), new_count, chance)
            row = replace(row, due_at=now + delay, due_cause=RunCause.INTERVAL)
        elif is_new or (is_other and not is_done):
            row = replace(row, due_at=now, due_cause=RunCause.PUSH)
        if not is_done:
            row = replace(row, touched_number=number)
        moved.append(row)
    moved.extend(replace(row, is_gone=True) for row in rows_by_name.values() if not row.is_gone)
    return moved


def derive_condition_of_look(result: RunResult) -> TargetCondition:
    """The state word of a target after a look."""
    counts = result.counts
    if result.outcome.is_failure:
        return TargetCondition.FAILING
    if result.outcome is RunOutcome.IN_SYNC:
        return TargetCondition.IN_SYNC
    if counts.refused or counts.guards:
        return TargetCondition.REFUSED
    return TargetCondition.DRIFTED if counts.drifted else TargetCondition.PENDING


def is_repeat(last: RunRow | None, run: RunRow, *, has_same_inputs: bool) -> bool:
    """Whether a look found what the last one found, so that it is a time in a row of that."""
    return (
        last is not None
        and last.outcome is run.outcome
        and last.result_digest == run.result_digest
        and (last.commit == run.commit or has_same_inputs)
    )


def update_after_look(
    row: TargetRow,
    looked: TargetRow,
    run_id: str,
    result: RunResult,
    *,
    now: float,
    rule: TargetRule,
    defaults: Defaults,
    chance: float,
) -> TargetRow:
    """A target after a look, which ended at `now`; `looked` is its row when the look began.

    `run_id` is the run that the look is, or is a time in a row of. `row` is as it is now: where a
    new head came meanwhile, its due time stands. A failure with other inputs than those of the last
    good look undoes that one, so that a head which goes back to them is looked at.
    """
    condition = derive_condition_of_look(result)
    is_failure = result.outcome.is_failure
    failures = row.failures + 1 if is_failure else 0
    in_sync = result.outcome is RunOutcome.IN_SYNC
    input_digest = looked.wanted_digest
    if is_failure and row.input_digest != looked.wanted_digest:
        input_digest = ""
    updated = replace(
        row,
        state=condition,
        counts=result.counts,
        failures=failures,
        last_run=run_id,
        looked_at=now,
        looked_number=looked.wanted_number,
        changed_at=row.changed_at if condition is row.state else now,
        applied_commit=looked.wanted_commit if in_sync else row.applied_commit,
        input_digest=input_digest,
        backend_host=result.backend_host or row.backend_host,
    )
    if (row.due_at, row.due_cause) != (looked.due_at, looked.due_cause):
        return updated  # a new head, or a person, asked for another look meanwhile
    if row.wanted_digest != looked.wanted_digest:
        # A new head took back what this look saw, before that was known to matter.
        return replace(updated, due_at=now, due_cause=RunCause.PUSH)
    if is_failure:
        delay = compute_retry_delay(failures, defaults, chance)
        return replace(updated, due_at=now + delay, due_cause=RunCause.RETRY)
    delay = vary_by_jitter(get_interval(rule, defaults), defaults.jitter, chance)
    return replace(updated, due_at=now + delay, due_cause=RunCause.INTERVAL)
