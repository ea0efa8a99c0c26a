"""How a claimed target is applied: one request to a worker, and permits as long as it runs."""

from __future__ import annotations

from synapse_apply.controller.loop.claiming import ClaimedTarget, is_still_claimed_by_task
from synapse_apply.controller.loop.deciding import (
    TargetDecision,
    find_strictest_rule,
    list_rejected_digests,
)
from synapse_apply.controller.loop.lost_applies import record_begin_of_apply
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.running import (
    FinishedRun,
    ask_worker,
    find_closed_credentials,
    is_pruned,
)
from synapse_apply.controller.page.addresses import build_run_path
from synapse_apply.controller.ports import ApplyRequest, Permit
from synapse_apply.controller.rows import RunVerb
from synapse_apply.controller.rules.permits import compute_permit
from synapse_apply.controller.store.store_database import StoreUnavailable
from synapse_apply.model.errors import SynapseApplyError


def apply_by_worker(
    parts: LoopParts, claimed: ClaimedTarget, decision: TargetDecision
) -> FinishedRun:
    """Have a worker apply a claimed target by the terms that were decided; waits for it.

    It never raises for an apply, only where its begin cannot be recorded (ControllerStoreError).
    The run's id is the plan id of state and audit.
    """
    row, run_id = claimed.row, parts.make_id()
    who, reader = parts.who, PermitReader(parts, claimed, decision)
    approvers = decision.approvers_by_ids(reader.approval_ids)
    if approvers:
        who += f", approved by {', '.join(approvers)}"
    operation = f"apply by controller {parts.settings.name}"
    if url := parts.public_url_of(build_run_path(run_id)):
        operation += f" ({url})"
    request = ApplyRequest(
        row.name,
        row.wanted_commit,
        parts.settings.defaults.timeout,
        decision.terms,
        run_id,
        who,
        operation,
        prune=is_pruned(parts, decision.rule),
        binding=row.binding,
        closed=find_closed_credentials(parts, row.name),
        live_commit=row.applied_commit,
    )
    record_begin_of_apply(parts, row, claimed.epoch, run_id, approvers)
    return ask_worker(
        parts, RunVerb.APPLY, run_id, row, lambda: parts.workers.apply(request, reader.read_permit)
    )


class PermitReader:
    """Reads anew, for each permit of one apply, all that can end it; for one thread."""

    def __init__(self, parts: LoopParts, claimed: ClaimedTarget, begun: TargetDecision) -> None:
        """`begun` are the terms by which it was judged."""
        self._parts, self._claimed = parts, claimed
        self._begun_rule = begun.rule
        held = {one.row.digest for one in begun.judgement.held_rows if one.can_be_approved}
        self._digests_not_done = held | begun.terms.rejected
        self.approval_ids = {i for ids in begun.judgement.used_approvals.values() for i in ids}
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
        row = parts.store.find_target_even_if_gone(looked.name)
        is_commit_wanted = row is not None and row.wanted_digest == looked.wanted_digest
        permit = compute_permit(
            looked.name,
            find_strictest_rule(parts, looked.name),
            parts.store.list_people_pauses_even_ended(),
            begun_rule=self._begun_rule,
            now=now,
            monotonic=monotonic,
            has_claim=row is not None
            and not row.is_gone
            and is_still_claimed_by_task(parts, row, self._claimed),
            # A newer head does not cut an apply in its middle: it waits.
            is_commit_wanted=self._has_begun or is_commit_wanted,
            is_stopping=parts.is_stopping,
            has_approvals=self._keeps_approvals(),
            has_new_rejection=bool(
                list_rejected_digests(parts, looked.name) - self._digests_not_done
            ),
        )
        if not parts.store.is_shared or permit.reason or row is None:
            return permit
        # Another process may have the target from the end of the claim on.
        return permit._replace(until=min(permit.until, monotonic + row.lease_until - now))

    def _keeps_approvals(self) -> bool:
        """Whether nobody took back an approval by which the apply was judged."""
        if not self.approval_ids:
            return True
        approvals = self._parts.store.list_approvals_even_used_or_expired(self._claimed.row.name)
        return self.approval_ids <= {approval.id for approval in approvals}
