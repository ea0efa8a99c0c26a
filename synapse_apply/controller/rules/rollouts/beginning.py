"""What a head makes of a rollout: a newer revision begins at the first wave, or waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from synapse_apply.controller.rows import (
    RolloutRow,
    RolloutState,
    RolloutTargetRow,
    TargetName,
    WaveRow,
)
from synapse_apply.controller.rules.rollouts.assignment import AssignedTarget, wave_digest
from synapse_apply.controller.rules.rollouts.evidence import without_evidence
from synapse_apply.controller.rules.rollouts.words import format_wave_of_count
from synapse_apply.controller.settings import Rollout
from synapse_apply.model.frozen import frozen


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
    targets = _target_rows(row, rows_by_name, assigned)
    return RolloutBeginning(row, tuple(targets), removed_names)


def _at_same_head(
    rollout: Rollout,
    before: RolloutRow,
    rows_by_name: Mapping[TargetName, RolloutTargetRow],
    assigned: Sequence[AssignedTarget],
    removed_names: tuple[TargetName, ...],
    now: float,
) -> RolloutBeginning:
    changed_waves = [
        wave for item in assigned for wave in _list_changed_waves(rows_by_name.get(item.name), item)
    ]
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
    targets = [
        target
        for target in _target_rows(row, rows_by_name, assigned)
        if target != rows_by_name.get(target.target)
    ]
    return RolloutBeginning(
        row if row != before else None, tuple(targets), removed_names, tuple(waves)
    )


def _list_changed_waves(row: RolloutTargetRow | None, item: AssignedTarget) -> list[int]:
    """The waves whose targets are other than before, as far as this one is concerned."""
    if row is None:
        return [item.wave]
    return [item.wave, row.wave] if row.wave != item.wave else []


def _target_rows(
    row: RolloutRow,
    rows_by_name: Mapping[TargetName, RolloutTargetRow],
    assigned: Iterable[AssignedTarget],
) -> list[RolloutTargetRow]:
    return [_target_row(row, rows_by_name.get(item.name), item) for item in assigned]


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
