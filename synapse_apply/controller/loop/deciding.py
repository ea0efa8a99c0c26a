"""What of a target's plan may be done now: its rule, approvals and pauses, read and judged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.planned_rows import ApplyTerms, Judgement, PlannedRow
from synapse_apply.controller.rows import ApprovalRow, TargetName, TargetRow
from synapse_apply.controller.rules.approving import build_apply_terms, count_approvals_of_row
from synapse_apply.controller.rules.judging import judge_rows
from synapse_apply.controller.rules.pausing import ApplyBlock, find_apply_block
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import Mode, TargetRule
from synapse_apply.model.frozen import frozen

# Where no rule matches any more, nothing is applied.
_OBSERVING_RULE = TargetRule("*")


@frozen
class TargetDecision:
    """What becomes of the rows of a plan now. `block` is why nothing is applied, None: it may be.

    `approvers` are the people whose approvals count, by the digest of each row that has enough.
    """

    rule: TargetRule
    terms: ApplyTerms
    approvers: Mapping[str, tuple[str, ...]]
    judgement: Judgement
    block: ApplyBlock | None

    def list_approvers_of_rows_using(self, approval_ids: Collection[str]) -> tuple[str, ...]:
        """Who approved the rows to which these approvals belong, each once, sorted."""
        used_ids = set(approval_ids)
        names = {
            name
            for digest, ids in self.terms.approvals.items()
            if not used_ids.isdisjoint(ids)
            for name in self.approvers[digest]
        }
        return tuple(sorted(names))


def find_target_rule(parts: LoopParts, name: TargetName) -> TargetRule | None:
    """The rule of a target in the configuration in use; None where it is left alone."""
    source = parts.settings.sources.get(name.source)
    return find_rule(source, name.target) if source else None


def judge_rows_by_what_holds_now(
    parts: LoopParts, row: TargetRow, rows: Sequence[PlannedRow]
) -> TargetDecision:
    """Judge the rows of a target's plan by all that holds now."""
    now = parts.clock.read_wall()
    rule, access = find_target_rule(parts, row.name) or _OBSERVING_RULE, parts.settings.access
    approvals, authors = _read_usable_approvals_and_counting_authors(parts, row, rule)
    rejected = {hold.row_digest for hold in parts.store.list_holds(row.name) if hold.rejected_by}
    terms = build_apply_terms(
        rule, approvals, now=now, access=access, authors=authors, rejected=rejected
    )
    approvers = {
        digest: count_approvals_of_row(
            rule, approvals, digest, now=now, access=access, authors=authors
        ).who_counts
        for digest in terms.approvals
    }
    block = find_apply_block(rule, parts.store.list_people_pauses_even_ended(), row.name, now)
    return TargetDecision(rule, terms, approvers, judge_rows(rows, terms), block)


def judge_rows_by_terms_of_begun_apply(
    parts: LoopParts, row: TargetRow, rows: Sequence[PlannedRow], begun: TargetDecision
) -> TargetDecision:
    """Judge the rows that an apply had, by its own terms: what it used up is not held."""
    now = parts.clock.read_wall()
    block = find_apply_block(begun.rule, parts.store.list_people_pauses_even_ended(), row.name, now)
    # One that ended before it told its rows was to do those of the look.
    judgement = judge_rows(rows, begun.terms) if rows else begun.judgement
    return replace(begun, judgement=judgement, block=block)


def _read_usable_approvals_and_counting_authors(
    parts: LoopParts, row: TargetRow, rule: TargetRule
) -> tuple[Sequence[ApprovalRow], tuple[str, ...]]:
    """The unused approvals of a target, and who wrote what would be applied if that counts.

    No approval where that counts and cannot be told.
    """
    if rule.mode is Mode.OBSERVE:
        return (), ()
    approvals = [
        row for row in parts.store.list_approvals_even_used_or_expired(row.name) if not row.used_at
    ]
    if not approvals or not rule.not_author:
        return approvals, ()
    authors = parts.list_authors_between_applied_and_wanted_or_none(row)
    if authors is None:
        parts.log("warn", "authors unknown", target=row.name, commit=row.wanted_commit)
        return (), ()
    return approvals, authors
