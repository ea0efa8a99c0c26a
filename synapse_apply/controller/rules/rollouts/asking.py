"""What people change of a rollout: they let a wave begin, go on, skip a wave, or end a revision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from synapse_apply.controller.ports import ActionRefused
from synapse_apply.controller.rows import (
    RolloutRow,
    RolloutState,
    RolloutTargetRow,
    WaveEnd,
    WaveRow,
)
from synapse_apply.controller.rules.rollouts.words import describe_aborted_rollout
from synapse_apply.model.command import Command, Text


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
