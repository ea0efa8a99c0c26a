"""Which approvals count now, whose do not and why, and what they permit.

Rules count as they are when a row is done, not as they were when it was approved.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence

from synapse_apply.controller.planned_rows import ApplyTerms, HeldRow, HoldReason
from synapse_apply.controller.rows import ApprovalRow, HoldRow
from synapse_apply.controller.rules.access import Person, get_person_name, is_allowed_for
from synapse_apply.controller.settings import DAY, Access, Mode, Right, TargetRule
from synapse_apply.model.frozen import frozen

APPROVAL_SECONDS = 7 * DAY
# As GitHub writes an author who hides their address: NUMBER+NAME@users.noreply.github.com.
_NUMBERED_ADDRESS = "@users.noreply."


@frozen
class LeftOutApproval:
    """An approval that does not count, and why, as a phrase."""

    who: str
    reason: str


@frozen
class ApprovalCount:
    """How many people have approved a row of those who have to.

    `who_counts` are the people whose approvals count. `approval_ids` are all that are used up where
    the row is done: also what does not count now, which would permit the same row once more later.
    """

    needed_count: int
    approval_ids: tuple[str, ...] = ()
    who_counts: tuple[str, ...] = ()
    left_out: tuple[LeftOutApproval, ...] = ()

    @property
    def is_enough(self) -> bool:
        return len(self.who_counts) >= self.needed_count


def build_apply_terms(
    rule: TargetRule,
    approvals: Iterable[ApprovalRow],
    *,
    now: float,
    access: Access | None,
    authors: Collection[str] = (),
    rejected: Collection[str] = (),
) -> ApplyTerms:
    """What may be done with a target now: nothing in mode observe.

    `approvals` are those of the target, also old ones; `access` says who may approve now; `authors`
    are the names and addresses of who wrote the commits that would be applied; `rejected` are the
    digests of rows that a person has rejected.
    """
    if rule.mode is Mode.OBSERVE:
        return ApplyTerms()
    by_digest: dict[str, list[ApprovalRow]] = {}
    for approval in approvals:
        by_digest.setdefault(approval.row_digest, []).append(approval)
    author_names = _author_names(authors) if rule.not_author else frozenset()
    counts = {
        digest: _count_of_row(rule, of_row, now, access, author_names)
        for digest, of_row in by_digest.items()
        if digest not in rejected
    }
    is_auto = rule.mode is Mode.AUTO
    return ApplyTerms(
        rule.auto.causes if is_auto else frozenset(),
        rule.auto.actions if is_auto else frozenset(),
        {digest: count.approval_ids for digest, count in counts.items() if count.is_enough},
        frozenset(rejected),
    )


def count_approvals_of_row(
    rule: TargetRule,
    approvals: Iterable[ApprovalRow],
    row_digest: str,
    *,
    now: float,
    access: Access | None,
    authors: Collection[str] = (),
) -> ApprovalCount:
    """Who has approved a row, and whose approval does not count, as for `build_apply_terms`."""
    of_row = [approval for approval in approvals if approval.row_digest == row_digest]
    author_names = _author_names(authors) if rule.not_author else frozenset()
    return _count_of_row(rule, of_row, now, access, author_names)


def add_approved_rows(
    holds: Sequence[HoldRow], approvals: Iterable[ApprovalRow], now: float
) -> list[HoldRow]:
    """The holds of a target, and rows that have unused approvals and are not done yet.

    Where it waits for no person any more, it can still be rejected.
    """
    rows = {hold.row_digest: hold for hold in holds}
    for given in approvals:
        if not given.used_at and not is_approval_stale(given, now):
            held_row = HeldRow(given.row, HoldReason.APPROVED)
            hold = HoldRow(given.target, given.row_digest, held_row, "", "", given.approved_at)
            rows.setdefault(given.row_digest, hold)
    return [*rows.values()]


def describe_approvals(count: ApprovalCount) -> str:
    """A phrase such as `1 of 2 approvals, by proxy:ann; proxy:bob does not count: expired`."""
    noun = "approval" if count.needed_count == 1 else "approvals"
    text = f"{len(count.who_counts)} of {count.needed_count} {noun}"
    if count.who_counts:
        text += f", by {', '.join(count.who_counts)}"
    left_out = [f"{approval.who} does not count: {approval.reason}" for approval in count.left_out]
    return "; ".join([text, *left_out])


def is_approval_stale(approval: ApprovalRow, now: float) -> bool:
    """Whether an approval is too old; one of the far future is, too: the clock was set back."""
    return abs(now - approval.approved_at) >= APPROVAL_SECONDS


def is_author(access: Access | None, who: str, authors: Collection[str]) -> bool:
    """Whether a person (`proxy:NAME`, `token:NAME`) goes by the name or address of an author.

    Names are compared without regard to case, addresses also by what stands before the `@`. That
    stops slips, not people who write another name into their commits.
    """
    names = _names_of_author(get_person_name(access, who))
    return not names.isdisjoint(_author_names(authors))


def get_person_key(access: Access | None, who: str) -> str:
    """The same for all identities of one person: people are compared as authors are.

    An address counts by what stands before its `@`, so that a token of that name is no second one.
    """
    return min(_names_of_author(get_person_name(access, who)), key=len, default="")


def _count_of_row(
    rule: TargetRule,
    approvals: Iterable[ApprovalRow],
    now: float,
    access: Access | None,
    author_names: frozenset[str],
) -> ApprovalCount:
    counted: dict[str, ApprovalRow] = {}
    left_out: dict[str, LeftOutApproval] = {}
    unused_ids: list[str] = []
    # The newest of each person, so that one who approves again after a week counts.
    for approval in sorted(approvals, key=lambda row: (row.approved_at, row.id), reverse=True):
        person = get_person_key(access, approval.who)
        if not approval.used_at and not is_approval_stale(approval, now):
            unused_ids.append(approval.id)
        reason = _exclusion(rule, approval, now, access, author_names)
        if reason:
            left_out.setdefault(person, LeftOutApproval(approval.who, reason))
        elif (first := counted.setdefault(person, approval)).who != approval.who:
            same = f"it is of the same person as that of {first.who}"
            left_out[approval.who] = LeftOutApproval(approval.who, same)
    in_time = sorted(counted.values(), key=lambda row: (row.approved_at, row.id))
    return ApprovalCount(
        rule.approvals,
        tuple(sorted(unused_ids)),
        tuple(approval.who for approval in in_time),
        tuple(approval for person, approval in sorted(left_out.items()) if person not in counted),
    )


def _exclusion(
    rule: TargetRule,
    approval: ApprovalRow,
    now: float,
    access: Access | None,
    author_names: frozenset[str],
) -> str:
    """Why an approval does not count; "" where it does."""
    if approval.used_at:
        return "it was used already"
    if is_approval_stale(approval, now):
        return "it is older than 7 days"
    # A right, or a token, may have been taken away since.
    person = Person(approval.who, frozenset(approval.groups))
    if not is_allowed_for(access, person, Right.APPROVE, approval.target):
        return "they have no right to approve it any more"
    names = _names_of_author(get_person_name(access, approval.who))
    if rule.not_author and not names.isdisjoint(author_names):
        return "an author of what would be applied"
    return ""


def _author_names(authors: Collection[str]) -> frozenset[str]:
    return frozenset(name for author in authors for name in _names_of_author(author))


def _names_of_author(text: str) -> frozenset[str]:
    """A name, or an address and what stands before its `@`; to be compared."""
    name = unicodedata.normalize("NFKC", text).strip().casefold()
    local_part, sign, _ = name.rpartition("@")
    names = {name, local_part} if sign else {name}
    if _NUMBERED_ADDRESS in name:
        names.add(local_part.partition("+")[2])
    return frozenset(names - {""})
