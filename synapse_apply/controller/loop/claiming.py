"""How a due target is claimed, how a worker is asked for its run, how an apply is remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

from synapse_apply.controller.loop.credentials import choose_pin, find_closed_credentials
from synapse_apply.controller.loop.parts import LEASE_SECONDS, LoopParts
from synapse_apply.controller.ports import Durations, RunResult, SourceUnavailable
from synapse_apply.controller.rows import (
    ApplyLog,
    BegunApply,
    CallProgress,
    RunOutcome,
    RunRow,
    RunVerb,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.settings import TargetRule
from synapse_apply.controller.store.store_writer import StoreWriter
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.frozen import replace

# A claim outlives the longest look and apply by this: a worker is killed at its timeout. Where
# others share the store it is short, and renewed as long as this process lives.
_CLAIM_MARGIN_SECONDS = 60.0


class ClaimedTarget(NamedTuple):
    """A target that is claimed, as it was when its task began, and the claim's epoch."""

    row: TargetRow
    epoch: int


def claim_if_due(parts: LoopParts, name: TargetName) -> ClaimedTarget | None:
    """Claim a target that is due; None where somebody has it, or looked at it meanwhile."""
    longest = 2 * parts.settings.defaults.timeout + _CLAIM_MARGIN_SECONDS
    with parts.write() as writer:
        # Now, and not before other writers were waited for: the claim would be over already.
        now = parts.clock.read_wall()
        until = now + (LEASE_SECONDS if parts.store.is_shared else longest)
        row = parts.store.find_target(name)
        if row is None or row.is_gone or row.due_at > now:
            return None
        epoch = writer.claim(name, parts.holder, until, now)
        if epoch:
            row = record_lost_apply_if_any(parts, writer, row)
    # An earlier run may be another process's: what comes later has to be the greater id.
    parts.ids.begin_after(row.last_run)
    return ClaimedTarget(row, epoch) if epoch else None


def is_still_claimed_by_task(parts: LoopParts, row: TargetRow, claimed: ClaimedTarget) -> bool:
    """Whether a target, as it is now, is still claimed by this task.

    A claim that ran out is none where others share the store, though nobody may have taken it yet.
    """
    is_over = parts.store.is_shared and row.lease_until <= parts.clock.read_wall()
    return not is_over and (row.holder, row.epoch) == (parts.holder, claimed.epoch)


def reread_claimed(parts: LoopParts, claimed: ClaimedTarget) -> ClaimedTarget | None:
    """The claimed target at the commit that is wanted now; None where an apply may not begin.

    That is where another revision with other inputs is wanted, the target is gone or the claim was
    lost.
    """
    row = parts.store.find_target(claimed.row.name)
    if row is None or row.is_gone or not is_still_claimed_by_task(parts, row, claimed):
        return None
    if row.wanted_digest != claimed.row.wanted_digest:
        return None
    moved = replace(claimed.row, wanted_commit=row.wanted_commit, wanted_number=row.wanted_number)
    return claimed._replace(row=replace(moved, binding=row.binding))


def release_claim(parts: LoopParts, claimed: ClaimedTarget) -> None:
    """End the claim; the target stays due."""
    with parts.write() as writer:
        writer.release_claim(claimed.row.name, parts.holder, claimed.epoch)


class RunCounts:
    """How many runs there were since the start, by verb and outcome, and how long they took."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._durations: dict[tuple[RunVerb, RunOutcome], Durations] = {}

    def add_run(self, verb: RunVerb, outcome: RunOutcome, seconds: float) -> None:
        with self._lock:
            before = self._durations.get((verb, outcome), Durations())
            self._durations[verb, outcome] = before.plus(seconds)

    def read_durations(self) -> dict[tuple[RunVerb, RunOutcome], Durations]:
        with self._lock:
            return dict(self._durations)


class FinishedRun(NamedTuple):
    """What a worker found, or did, and when that began and ended by the wall clock."""

    id: str
    verb: RunVerb
    result: RunResult
    began_at: float
    ended_at: float

    @property
    def seconds(self) -> float:
        return self.ended_at - self.began_at


def look_by_worker_and_wait(
    parts: LoopParts, claimed: ClaimedTarget, rule: TargetRule, *, create_state: bool = False
) -> FinishedRun:
    """Have a worker look at a claimed target; waits for it, and never raises for a look."""
    row, defaults = claimed.row, parts.settings.defaults
    order = Order(
        *row.name,
        row.wanted_commit,
        defaults.timeout,
        prune=is_pruned(parts, rule),
        live_commit=row.applied_commit,
        create_state=create_state,
        is_live=row.is_live,
        own_name=parts.who,
    )
    return ask_worker(parts, RunVerb.LOOK, parts.make_id(), row, order, parts.workers.look)


def ask_worker(
    parts: LoopParts,
    verb: RunVerb,
    run_id: str,
    row: TargetRow,
    order: Order,
    ask: Callable[[Order], RunResult],
) -> FinishedRun:
    """What `ask` gives, with the times; what it raises is a result, too: WORKER_LOST.

    The wanted commit of `row` is fetched before where this machine does not have it; PLAN_ERROR
    where it cannot be, or nobody can tell what the pin's settings name for credentials. A store
    that is away is waited for: that is no end of a run.
    """
    counted = parts.clock.read_counter()
    try:
        parts.ask_until_store_answers(lambda: parts.fetch_wanted_commit(row))
        pin = parts.ask_until_store_answers(lambda: choose_pin(parts, row))
        closed = parts.ask_until_store_answers(lambda: find_closed_credentials(parts, row.name))
        result = ask(replace(order, project_from=pin, closed=closed))
    except SourceUnavailable as problem:
        result = RunResult(RunOutcome.PLAN_ERROR, findings=problem.diagnostics)
    except Exception as problem:  # noqa: BLE001 - one run must not end the controller
        # The text of an unknown exception may hold anything.
        finding = error_finding(
            "The run ended with an internal error",
            f"{type(problem).__name__} was raised.",
            "The controller retries. Please report the error if it persists.",
        )
        result = RunResult(RunOutcome.WORKER_LOST, findings=(finding,))
    ended_at = parts.clock.read_wall()
    began_at = ended_at - (parts.clock.read_counter() - counted)
    return FinishedRun(run_id, verb, result, began_at, ended_at)


def is_pruned(parts: LoopParts, rule: TargetRule) -> bool:
    """Whether what is no longer declared is deleted."""
    return parts.settings.defaults.prune if rule.prune is None else rule.prune


_FINDING = error_finding(
    "The controller ended, or lost its claim, while this apply ran",
    "The target's state records what the apply did until then, and the next check settles the "
    "calls whose outcome is unknown.",
    "See that check, or the history of the state.",
)


def record_begin_of_apply(
    parts: LoopParts, name: TargetName, epoch: int, begun: BegunApply
) -> None:
    """Write, before an apply is asked for, that it begins: in the target's row and the audit.

    `epoch` is that of the claim: the row of a target that is another's by now stays as it is.
    """
    detail = f"run {begun.run} of {begun.commit}"
    if begun.approved_by:
        detail += f"; approved by {', '.join(begun.approved_by)}"
    with parts.write() as writer:
        row = parts.store.find_target(name)
        if row is not None and writer.is_claim_own(name, parts.holder, epoch):
            live_digest = row.live_digest if row.is_live else ""
            writer.put(replace(row, begun_apply=begun, live_digest=live_digest))
        writer.append_audit(begun.began_at, parts.who, "begin apply", str(name), detail)


def tell_progress(
    parts: LoopParts, claimed: ClaimedTarget, run: str, calls: Sequence[CallProgress]
) -> None:
    """Write what an apply has begun, for the pages of all processes, while the claim is its own."""
    name = claimed.row.name
    with parts.write() as writer:
        if writer.is_claim_own(name, parts.holder, claimed.epoch):
            writer.replace_apply_log(name, ApplyLog(run, tuple(calls)))


def record_lost_apply_if_any(parts: LoopParts, writer: StoreWriter, row: TargetRow) -> TargetRow:
    """Write the run row of an apply whose process ended before it did; the target without it.

    `row` is a target that was claimed just now, so that nobody records that apply any more.
    """
    begun = row.begun_apply
    if begun is None:
        return row
    now, after = parts.clock.read_wall(), replace(row, begun_apply=None)
    writer.put(after)
    writer.delete_apply_log(row.name)
    writer.put(
        RunRow(
            id=begun.run,
            target=row.name,
            commit=begun.commit,
            cause=begun.cause,
            began_at=begun.began_at,
            ended_at=now,
            outcome=RunOutcome.WORKER_LOST,
            findings=(_FINDING,),
            verb=RunVerb.APPLY,
            approved_by=begun.approved_by,
        )
    )
    detail = f"run {begun.run} of {begun.commit}: {RunOutcome.WORKER_LOST.value}"
    writer.append_audit(now, parts.who, "apply", str(row.name), detail)
    parts.log("warn", "apply lost", target=row.name, run=begun.run, commit=begun.commit)
    return after
