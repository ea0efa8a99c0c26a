"""The task of a claimed target: a look, what that decides, perhaps an apply, and one record."""

from __future__ import annotations

from functools import partial

from synapse_apply.controller.loop import deciding
from synapse_apply.controller.loop.claiming import (
    ClaimedTarget,
    FinishedRun,
    RunCounts,
    ask_worker,
    is_pruned,
    is_still_claimed_by_task,
    look_by_worker_and_wait,
    record_begin_of_apply,
    release_claim,
    reread_claimed,
    tell_progress,
)
from synapse_apply.controller.loop.owners import settle_owners
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.recording import RunRecord
from synapse_apply.controller.loop.rollbacks import settle_rollback
from synapse_apply.controller.page.addresses import build_run_path
from synapse_apply.controller.ports import Permit, RunResult
from synapse_apply.controller.rows import BegunApply, RunCause, RunOutcome, RunVerb, TargetRow
from synapse_apply.controller.rules.access import build_apply_terms
from synapse_apply.controller.rules.assessment import assess_apply, assess_look
from synapse_apply.controller.rules.due import MIN_POLL_SECONDS
from synapse_apply.controller.rules.permits import compute_permit
from synapse_apply.controller.settings import TargetRule
from synapse_apply.controller.store.store_database import StoreUnavailable
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import replace


def look_and_apply(parts: LoopParts, claimed: ClaimedTarget, counts: RunCounts) -> None:
    """Look at a claimed target, apply it if it may be, and record the last of the two.

    Nothing is recorded of what was ended with the controller: the target stays due.
    """
    with parts.own_claims.renewing_claim(claimed.row.name):
        _look_and_apply(parts, claimed, counts)


def _look_and_apply(parts: LoopParts, claimed: ClaimedTarget, counts: RunCounts) -> None:
    rule = deciding.find_strictest_rule(parts, claimed.row.name) or TargetRule("*")
    begun = claimed
    settled = parts.ask_until_store_answers(lambda: settle_rollback(parts, begun, rule))
    if settled is None or parts.is_closing:
        return
    claimed = settled
    at = claimed.row
    creates = parts.ask_until_store_answers(lambda: deciding.may_create_state(parts, at, rule))
    look = look_by_worker_and_wait(parts, claimed, rule, create_state=creates)
    finished = look
    if look.result.created_lineage:
        parts.ask_until_store_answers(lambda: _record_created_state(parts, at, finished.result))
    if parts.is_closing:
        return
    counts.add_run(look.verb, look.result.outcome, look.seconds)
    look = parts.ask_until_store_answers(lambda: deciding.settle_binding(parts, claimed, finished))
    bound = look
    judged = parts.ask_until_store_answers(
        lambda: deciding.judge_now(parts, claimed.row, bound.result.rows)
    )
    look, decision = parts.ask_until_store_answers(
        lambda: settle_owners(parts, claimed, bound, judged)
    )
    cause = claimed.row.due_cause
    assessment = assess_look(look.result, decision.judgement, decision.rule, decision.block, cause)
    own = parts.ask_until_store_answers(lambda: deciding.in_own_mode(parts, claimed.row, decision))
    shown = assess_look(look.result, own.judgement, own.rule, own.block, cause)
    record_look = RunRecord(parts, claimed, look, own, shown).write
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


def _record_created_state(parts: LoopParts, row: TargetRow, result: RunResult) -> None:
    lineage = result.created_lineage
    with parts.write() as writer:
        detail, now = f"lineage {lineage}", parts.clock.read_wall()
        writer.append_audit(now, parts.who, "create state", str(row.name), detail)
    parts.log("info", "create state", target=row.name, lineage=lineage)


def _has_newer_inputs(parts: LoopParts, looked: TargetRow) -> bool:
    """Whether Git has a newer commit by now, which somebody may have applied by hand.

    One at which the target cannot be read, or has the same inputs, is none; nor is one that lacks
    the signatures that the source needs.
    """
    name = looked.name
    mirror = parts.configured.mirrors.get(name.source)
    source = parts.store.find_source(name.source)
    if mirror is None or source is None:
        return False
    is_compared = source.keyed_number >= source.head_number
    commit = mirror.find_newer_head(source.head) or (None if is_compared else source.head)
    known = looked.head_digest if looked.rollback else looked.wanted_digest
    rows = parts.store.source_targets(name.source) if commit else ()
    try:
        targets = mirror.list_targets(commit) if commit else ()
        is_newer = any(t.name == name.target and t.digest != known for t in targets)
        if commit and is_newer:
            mirror.require_signed(commit, frozenset(row.wanted_commit for row in rows) - {""})
    except SynapseApplyError:
        return False
    return is_newer


def _postpone(parts: LoopParts, claimed: ClaimedTarget) -> None:
    """Have the source fetched, and look again later: at the newer commit, or at this one."""
    name = claimed.row.name
    with parts.write() as writer:
        writer.request_fetch_at_once(name.source)
        row = parts.store.find_target(name)
        if row is not None and is_still_claimed_by_task(parts, row, claimed):
            due_at = parts.clock.read_wall() + MIN_POLL_SECONDS
            writer.put(replace(row, due_at=due_at))
        writer.release_claim(name, parts.holder, claimed.epoch)
    parts.log("info", "apply postponed", target=name, reason="a newer commit exists")


def _apply_and_record(
    parts: LoopParts,
    claimed: ClaimedTarget,
    look: FinishedRun,
    decision: deciding.TargetDecision,
    counts: RunCounts,
) -> None:
    """Apply a claimed target by what a look of it decided, and record that in its place."""
    run = apply_by_worker(parts, claimed, decision)
    if parts.is_closing and run.result.outcome is RunOutcome.WORKER_LOST:
        return
    counts.add_run(run.verb, run.result.outcome, run.seconds)
    rows = run.result.rows
    after = parts.ask_until_store_answers(
        lambda: deciding.in_own_mode(
            parts, claimed.row, deciding.judge_begun(parts, claimed.row, rows, decision)
        )
    )
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
    parts.ask_until_store_answers(RunRecord(parts, claimed, run, after, assessment).write)


def apply_by_worker(
    parts: LoopParts, claimed: ClaimedTarget, decision: deciding.TargetDecision
) -> FinishedRun:
    """Have a worker apply a claimed target by the terms that were decided; waits for it.

    It never raises for an apply, only where its begin cannot be recorded (ControllerStoreError).
    The run's id is the plan id of state and audit.
    """
    row, run_id = claimed.row, parts.make_id()
    who, reader = parts.who, PermitReader(parts, claimed, decision)
    used = decision.judgement.used_approvals
    approvers = decision.approvers_by_ids([one for ids in used.values() for one in ids])
    if approvers:
        who += f", approved by {', '.join(approvers)}"
    operation = f"apply by controller {parts.settings.name}"
    if url := parts.public_url_of(build_run_path(run_id)):
        operation += f" ({url})"
    order = Order(
        *row.name,
        row.wanted_commit,
        parts.settings.defaults.timeout,
        decision.terms,
        run_id,
        who,
        operation,
        prune=is_pruned(parts, decision.rule),
        binding=row.binding,
        live_commit=row.applied_commit,
        is_live=row.is_live,
        own_name=parts.who,
    )
    cause, now = RunCause.APPROVED if approvers else row.due_cause, parts.clock.read_wall()
    begun = BegunApply(run_id, row.wanted_commit, cause, now, approvers, tuple(used))
    record_begin_of_apply(parts, row.name, claimed.epoch, begun)
    tell = partial(tell_progress, parts, claimed, run_id)
    return ask_worker(
        parts, RunVerb.APPLY, run_id, row, order,
        lambda order: parts.workers.apply(order, reader.read_permit, tell),
    )  # fmt: skip


class PermitReader:
    """Reads anew, for each permit of one apply, all that can end it; for one thread."""

    def __init__(
        self, parts: LoopParts, claimed: ClaimedTarget, begun: deciding.TargetDecision
    ) -> None:
        """`begun` are the terms by which it was judged."""
        self._parts, self._claimed = parts, claimed
        self._begun_rule = begun.rule
        held = {one.row.digest for one in begun.judgement.held_rows if one.can_be_approved}
        self._digests_not_done = held | begun.terms.rejected
        # Also of what it could not do at the look: it plans anew, and may do that, too.
        self._approvals = begun.terms.approvals
        self._rows = begun.judgement.rows
        self._has_begun = False
        self._last_permit = Permit(0.0)

    def read_permit(self) -> Permit:
        """How long calls may begin; no permit where the store cannot be read.

        While it is only away, the last permit holds to its end, and none comes after it.
        """
        # Before what is read: the permit must not outlive a pause that came meanwhile.
        now, monotonic = self._parts.clock.read_wall(), self._parts.clock.read_counter()
        try:
            permit = self._compute_permit(now, monotonic)
        except StoreUnavailable:
            if monotonic < self._last_permit.until:
                return self._last_permit
            return Permit(monotonic, "the controller's store does not answer")
        except SynapseApplyError:
            return Permit(monotonic, "the controller's store cannot be read")
        self._has_begun, self._last_permit = True, permit
        return permit

    def _compute_permit(self, now: float, monotonic: float) -> Permit:
        parts, looked = self._parts, self._claimed.row
        row = parts.store.find_target(looked.name)
        is_commit_wanted = row is not None and row.wanted_digest == looked.wanted_digest
        rule = deciding.find_acting_rule(parts, looked)
        permit = compute_permit(
            looked.name,
            rule,
            deciding.list_pauses_and_abort(parts, looked.name),
            begun_rule=self._begun_rule,
            now=now,
            monotonic=monotonic,
            has_claim=row is not None
            and not row.is_gone
            and is_still_claimed_by_task(parts, row, self._claimed),
            # A newer head does not cut an apply in its middle: it waits.
            # A rollback does.
            is_commit_wanted=is_commit_wanted
            or (self._has_begun and row is not None and row.rollback in {None, looked.rollback}),
            is_stopping=parts.is_stopping,
            has_approvals=rule is None or self._has_approvals(rule, now),
            has_new_rejection=bool(
                deciding.list_rejected_digests(parts, looked.name) - self._digests_not_done
            ),
        )
        if not parts.store.is_shared or permit.reason or row is None:
            return permit
        # Another process may have the target from the end of the claim on.
        return permit._replace(until=min(permit.until, monotonic + row.lease_until - now))

    def _has_approvals(self, rule: TargetRule, now: float) -> bool:
        """Whether the approvals by which the apply was judged are there, and are enough now."""
        parts, ids = self._parts, {one for ids in self._approvals.values() for one in ids}
        if not ids:
            return True
        found, authors = deciding.find_approvals_and_authors(parts, self._claimed.row, rule)
        given = [approval for approval in found if approval.id in ids]
        access = parts.settings.access
        terms = build_apply_terms(rule, given, self._rows, now=now, access=access, authors=authors)
        return self._approvals.keys() <= terms.approvals.keys()
