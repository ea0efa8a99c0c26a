"""The task of a claimed target: a look, what that decides, perhaps an apply, and one record."""

from __future__ import annotations

from dataclasses import replace

from synapse_apply.controller.loop.applying import apply_by_worker
from synapse_apply.controller.loop.claiming import (
    ClaimedTarget,
    is_still_claimed_by_task,
    release_claim,
    reread_claimed,
)
from synapse_apply.controller.loop.deciding import (
    TargetDecision,
    find_strictest_rule,
    judge_begun,
    judge_now,
    settle_binding,
)
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.recording import record_run
from synapse_apply.controller.loop.running import FinishedRun, RunCounts, look_by_worker_and_wait
from synapse_apply.controller.rows import RunOutcome, TargetRow
from synapse_apply.controller.rules.assessment import assess_apply, assess_look
from synapse_apply.controller.rules.due import MIN_POLL_SECONDS
from synapse_apply.controller.settings import TargetRule
from synapse_apply.model.errors import SynapseApplyError


def look_and_apply(parts: LoopParts, claimed: ClaimedTarget, counts: RunCounts) -> None:
    """Look at a claimed target, apply it if it may be, and record the last of the two.

    Nothing is recorded of what was ended with the controller: the target stays due.
    """
    with parts.own_claims.renewing_claim(claimed.row.name):
        _look_and_apply(parts, claimed, counts)


def _look_and_apply(parts: LoopParts, claimed: ClaimedTarget, counts: RunCounts) -> None:
    rule = find_strictest_rule(parts, claimed.row.name) or TargetRule("*")
    look = look_by_worker_and_wait(parts, claimed, rule)
    if parts.is_closing:
        return
    counts.add_run(look.verb, look.result.outcome, look.seconds)
    finished = look
    look = parts.ask_until_store_answers(lambda: settle_binding(parts, claimed, finished))
    decision = parts.ask_until_store_answers(
        lambda: judge_now(parts, claimed.row, look.result.rows)
    )
    assessment = assess_look(
        look.result, decision.judgement, decision.rule, decision.block, claimed.row.due_cause
    )

    def record_look() -> None:
        record_run(parts, claimed, look, decision, assessment)

    if not assessment.is_apply_next or look.result.held_up_by_run:
        parts.ask_until_store_answers(record_look)
    elif parts.is_stopping:
        release_claim(parts, claimed)
    elif parts.ask_until_store_answers(lambda: _has_newer_inputs(parts, claimed.row)):
        parts.ask_until_store_answers(lambda: _postpone(parts, claimed))
    elif (moved := reread_claimed(parts, claimed)) is None:
        # It is due for the revision that is wanted by now.
        parts.ask_until_store_answers(record_look)
    else:
        _apply_and_record(parts, moved, look, decision, counts)


def _has_newer_inputs(parts: LoopParts, looked: TargetRow) -> bool:
    """Whether Git has a newer commit by now, which somebody may have applied by hand.

    One at which the target cannot be read, or has the same inputs, is none.
    """
    name = looked.name
    mirror = parts.configured.mirrors.get(name.source)
    source = parts.store.find_source_even_if_removed(name.source)
    if mirror is None or source is None:
        return False
    is_compared = source.keyed_number >= source.head_number
    commit = mirror.find_newer_head(source.head) or (None if is_compared else source.head)
    try:
        targets = mirror.list_targets(commit) if commit else ()
    except SynapseApplyError:
        return False
    return any(t.name == name.target and t.digest != looked.wanted_digest for t in targets)


def _postpone(parts: LoopParts, claimed: ClaimedTarget) -> None:
    """Have the source fetched, and look again later: at the newer commit, or at this one."""
    name = claimed.row.name
    with parts.write() as writer:
        writer.request_fetch_at_once(name.source)
        row = parts.store.find_target_even_if_gone(name)
        if row is not None and is_still_claimed_by_task(parts, row, claimed):
            due_at = parts.clock.read_wall() + MIN_POLL_SECONDS
            writer.put_target_keeping_claim_and_newer_revision(replace(row, due_at=due_at))
        writer.release_claim_if_own(name, parts.holder, claimed.epoch)
    parts.log("info", "apply postponed", target=name, reason="a newer commit is there")


def _apply_and_record(
    parts: LoopParts,
    claimed: ClaimedTarget,
    look: FinishedRun,
    decision: TargetDecision,
    counts: RunCounts,
) -> None:
    """Apply a claimed target by what a look of it decided, and record that in its place."""
    run = apply_by_worker(parts, claimed, decision)
    if parts.is_closing and run.result.outcome is RunOutcome.WORKER_LOST:
        return
    counts.add_run(run.verb, run.result.outcome, run.seconds)
    rows = run.result.rows
    after = parts.ask_until_store_answers(lambda: judge_begun(parts, claimed.row, rows, decision))
    if not run.result.plan_json:
        # It ended before it told its plan: it was to do that of the look.
        result = replace(
            run.result,
            counts=look.result.counts,
            plan_json=look.result.plan_json,
            result_digest=look.result.result_digest,
            backend_host=look.result.backend_host,
        )
        run = run._replace(result=result)
    assessment = assess_apply(run.result, after.judgement, after.rule, after.block)
    parts.ask_until_store_answers(lambda: record_run(parts, claimed, run, after, assessment))
