"""How a look is carried out and recorded: a claim, a worker, a run or one more time in a row."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import NamedTuple

from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.planned_rows import ApplyTerms
from synapse_apply.controller.ports import LookRequest, RunResult
from synapse_apply.controller.rows import RunOutcome, RunRow, TargetName, TargetRow
from synapse_apply.controller.rules.assessment import assess_look
from synapse_apply.controller.rules.due import HELD_UP_SECONDS
from synapse_apply.controller.rules.judging import judge_rows
from synapse_apply.controller.rules.messages import find_target_event
from synapse_apply.controller.rules.targets import find_rule, is_repeat, update_after_run
from synapse_apply.controller.settings import Mode, TargetRule
from synapse_apply.controller.store_ports import StoreWriter
from synapse_apply.model.diagnostic import error_finding

# Who holds a claim: this process, which has the data folder alone.
HOLDER = "loop"
# A claim outlives the longest look by this: the worker is killed at its timeout.
_CLAIM_MARGIN_SECONDS = 60.0


class LookCounts:
    """How many looks there were since the start, by outcome, and how long they took in all."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = dict.fromkeys(RunOutcome, 0)
        self._seconds = 0.0

    def add(self, outcome: RunOutcome, seconds: float) -> None:
        with self._lock:
            self._counts[outcome] += 1
            self._seconds += seconds

    def read(self) -> tuple[dict[RunOutcome, int], float]:
        """A copy of the counts, and the seconds."""
        with self._lock:
            return dict(self._counts), self._seconds


class ClaimedLook(NamedTuple):
    """A target that is claimed for a look, as it was then, and the claim's epoch."""

    row: TargetRow
    epoch: int


def claim_look_if_due(parts: LoopParts, name: TargetName) -> ClaimedLook | None:
    """Claim a target that is due; None where somebody has it, or looked at it meanwhile."""
    now = parts.clock.read_wall()
    until = now + parts.settings.defaults.timeout + _CLAIM_MARGIN_SECONDS
    with parts.store.write() as writer:
        row = parts.store.find_target(name)
        if row is None or row.is_gone or row.due_at > now:
            return None
        epoch = writer.claim_target(name, HOLDER, until, now)
    return ClaimedLook(row, epoch) if epoch else None


def run_look(parts: LoopParts, claimed: ClaimedLook) -> tuple[RunResult, float, float]:
    """What a worker finds, and the wall times at which it began and ended."""
    row = claimed.row
    counted = parts.clock.read_counter()
    try:
        timeout = parts.settings.defaults.timeout
        result = parts.workers.look(LookRequest(row.name, row.wanted_commit, timeout))
    except Exception as problem:  # noqa: BLE001 - one look must not end the controller
        # The text of an unknown exception may hold anything.
        finding = error_finding(
            "The look ended with an internal error", f"{type(problem).__name__} was raised.",
            "It is tried again; please report it if it stays.",
        )  # fmt: skip
        result = RunResult(RunOutcome.WORKER_LOST, findings=(finding,))
    ended_at = parts.clock.read_wall()
    return result, ended_at - (parts.clock.read_counter() - counted), ended_at


def record_look(
    parts: LoopParts, claimed: ClaimedLook, result: RunResult, began_at: float, ended_at: float
) -> None:
    """Write what a look found, unless the claim is another's by now."""
    looked = claimed.row
    with parts.store.write() as writer:
        row = parts.store.find_target(looked.name)
        if row is None or not writer.is_claim_valid(looked.name, HOLDER, claimed.epoch):
            return
        if result.held_up_by_run:
            _postpone(parts, writer, row)
        else:
            _write_result(parts, writer, claimed, row, result, began_at, ended_at)
        writer.release_target(looked.name, HOLDER, claimed.epoch)
    parts.mark_changed(looked.name.source)


def _postpone(parts: LoopParts, writer: StoreWriter, row: TargetRow) -> None:
    """Another run is at work: what was seen in its middle would be told as drift."""
    writer.put_target(replace(row, due_at=parts.clock.read_wall() + HELD_UP_SECONDS))
    parts.log("info", "look postponed", target=row.name, reason="another run has the lock")


def _write_result(
    parts: LoopParts,
    writer: StoreWriter,
    claimed: ClaimedLook,
    row: TargetRow,
    result: RunResult,
    began_at: float,
    ended_at: float,
) -> None:
    looked = claimed.row
    run = RunRow(
        id=parts.make_id(),
        target=row.name,
        commit=looked.wanted_commit,
        cause=looked.due_cause,
        began_at=began_at,
        ended_at=ended_at,
        outcome=result.outcome,
        counts=result.counts,
        findings=result.findings,
        plan_json=result.plan_json,
        result_digest=result.result_digest,
    )
    last = next((run for run in parts.store.list_runs(row.name, 1)), None)
    has_same_inputs = row.input_digest == looked.wanted_digest
    if last is not None and is_repeat(last, run, has_same_inputs=has_same_inputs):
        run_id, is_new = last.id, False
        writer.count_repeat(last.id, ended_at)
    else:
        run_id, is_new = run.id, True
        writer.put_run(run)
    source = parts.settings.sources.get(row.name.source)
    rule = (find_rule(source, row.name.target) if source else None) or TargetRule("*")
    rule = replace(rule, mode=Mode.OBSERVE)
    judgement = judge_rows(result.rows, ApplyTerms())
    updated = update_after_run(
        row,
        looked,
        run_id,
        result,
        assess_look(result, judgement, rule, None, looked.due_cause),
        verb=run.verb,
        now=parts.clock.read_wall(),
        rule=rule,
        defaults=parts.settings.defaults,
        chance=parts.clock.draw(),
    )
    writer.put_target(updated)
    _queue_message(parts, writer, row, updated, run)
    if is_new:
        _log_result(parts, updated, run)


def _queue_message(
    parts: LoopParts, writer: StoreWriter, before: TargetRow, after: TargetRow, run: RunRow
) -> None:
    event = find_target_event(before, after)
    if event is not None:
        parts.queue_messages(
            writer,
            event,
            f"{after.name} {after.state.value} in {run.id}",
            source=after.name.source,
            target=after.name,
            commit=run.commit,
            # A warning of the plan is no reason for what is told.
            finding=next((finding for finding in run.findings if finding.is_error), None),
            counts=run.counts,
            run_id=after.last_run,
        )


def _log_result(parts: LoopParts, row: TargetRow, run: RunRow) -> None:
    first = next((finding for finding in run.findings if finding.is_error), None)
    parts.log(
        "warn" if run.outcome.is_failure else "info",
        "look",
        target=row.name,
        run=run.id,
        cause=run.cause.value,
        commit=run.commit,
        outcome=run.outcome.value,
        state=row.state.value,
        changes=run.counts.total,
        drifted=run.counts.drifted,
        seconds=run.ended_at - run.began_at,
        summary=first.summary if first else "",
    )
