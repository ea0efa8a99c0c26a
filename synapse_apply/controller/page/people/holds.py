"""What a page shows of the rows that wait for a person: why, who has approved, what is missing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from synapse_apply.controller.planned_rows import HoldReason, RowAction
from synapse_apply.controller.rows import ApprovalRow, HoldRow, TargetName
from synapse_apply.controller.rules.access import (
    ApprovalCount,
    add_approved_rows,
    count_approvals_of_row,
    is_approval_stale,
    is_author,
)
from synapse_apply.controller.rules.judging import REJECTED_PHRASE
from synapse_apply.controller.settings import Access, TargetRule
from synapse_apply.controller.store_ports import ReadableStore
from synapse_apply.model.frozen import frozen

REASON_PHRASES = {
    HoldReason.APPROVAL: "the mode is approve",
    HoldReason.CAUSE: "rows of this cause are for a person",
    HoldReason.ACTION: "this action is for a person",
    HoldReason.GUARD: "a guard stops it",
    HoldReason.DEPENDENCY: "it needs a row that is not done",
    HoldReason.APPROVED: "it has approvals, and is not done yet",
}
GUARD_PHRASE = "this guard stops the plan"
POLICY_PHRASE = "a policy stops the plan: nobody can approve it here"


@frozen
class HeldRowView:
    """A row that waits, and why. `approvals` are all of it, newest first."""

    hold: HoldRow
    count: ApprovalCount
    reason: str
    approvals: Sequence[ApprovalRow] = ()
    is_approved_by_visitor: bool = False

    @property
    def is_guard(self) -> bool:
        return self.hold.held_row.row.action is RowAction.GUARD

    @property
    def can_be_approved(self) -> bool:
        return self.hold.held_row.can_be_approved


def list_decidable_rows(store: ReadableStore, name: TargetName, now: float) -> list[HoldRow]:
    """The rows of a target that wait for a person, and approved ones that are not done yet."""
    approvals = store.list_approvals_even_used_or_expired(name)
    return add_approved_rows(store.list_holds(name), approvals, now)


def build_held_row_views(
    holds: Sequence[HoldRow],
    approvals: Sequence[ApprovalRow],
    rule: TargetRule | None,
    *,
    now: float,
    access: Access | None,
    authors: Collection[str] | None,
    identity: str = "",
) -> Sequence[HeldRowView]:
    """Rows of a target that wait, in their order, with what its `approvals` are worth.

    `authors` are those of the commits that would be applied, None where nobody can tell; `identity`
    is whose page it is.
    """
    of_digest: dict[str, list[ApprovalRow]] = {}
    for approval in approvals:
        of_digest.setdefault(approval.row_digest, []).append(approval)
    own_rule = rule or TargetRule("*")
    return [
        _build_held_row_view(
            hold, of_digest.get(hold.row_digest, ()), own_rule, now, access, authors, identity
        )
        for hold in holds
    ]


def _build_held_row_view(
    hold: HoldRow,
    of_row: Sequence[ApprovalRow],
    rule: TargetRule,
    now: float,
    access: Access | None,
    authors: Collection[str] | None,
    identity: str,
) -> HeldRowView:
    count = count_approvals_of_row(
        rule, of_row, hold.row_digest, now=now, access=access, authors=authors or ()
    )
    own = [
        approval
        for approval in of_row
        if approval.who == identity
        and not approval.used_at
        and not is_approval_stale(approval, now)
    ]
    return HeldRowView(
        hold, count, describe_hold_reason(hold), of_row, is_approved_by_visitor=bool(own)
    )


def describe_hold_reason(hold: HoldRow) -> str:
    """Why a row waits, as a phrase."""
    held_row = hold.held_row
    phrase = REASON_PHRASES[held_row.reason]
    if held_row.row.action is RowAction.GUARD:
        phrase = GUARD_PHRASE if held_row.can_be_approved else POLICY_PHRASE
    elif hold.rejected_by:
        return REJECTED_PHRASE
    return f"{phrase}: {held_row.detail}" if held_row.detail else phrase


def own_approval_doubt(
    rule: TargetRule | None, authors: Collection[str] | None, access: Access | None, identity: str
) -> str:
    """A sentence for a reader whose approval may not count; "" for another one."""
    if rule is None or not rule.not_author:
        return ""
    if authors is None:
        return "Who wrote the commits is not known now: an approval may not count."
    if identity and is_author(access, identity, authors):
        return "You are an author of what would be applied: your approval would not count."
    return ""
