"""What of a target's plan may be done now: its rule, approvals and pauses, read and judged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress

from synapse_apply.controller.loop.claiming import ClaimedTarget, FinishedRun
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.page.readable_store import ReadableStore
from synapse_apply.controller.page.run_documents import parse_readable_plan
from synapse_apply.controller.planned_rows import ApplyTerms, Binding, Judgement, PlannedRow
from synapse_apply.controller.ports import LabelledTarget, RunResult
from synapse_apply.controller.rows import (
    ApprovalRow,
    HoldRow,
    PauseRow,
    RunOutcome,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.access import (
    Person,
    build_apply_terms,
    count_approvals_of_row,
    describe_approvals,
    list_rights,
    name_to_readers,
)
from synapse_apply.controller.rules.brakes import list_brakes
from synapse_apply.controller.rules.judging import (
    build_moved_row,
    is_stricter,
    judge_rows,
    may_be_one_state,
    may_be_one_tenant,
    merge_rules,
    second_name_result,
)
from synapse_apply.controller.rules.permits import (
    ApplyBlock,
    find_apply_block,
    longest_active_pause,
)
from synapse_apply.controller.rules.rollouts import find_pause_of_abort
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import Brake, FixedPause, Mode, Right, TargetRule
from synapse_apply.controller.store.store_writer import StoreWriter
from synapse_apply.controller.worker.look import list_planned_rows
from synapse_apply.model.diagnostic import warning_finding
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import frozen, replace

# Where no rule matches any more, nothing is applied.
_OBSERVING_RULE = TargetRule("*")
_APPLY_NOW_SECONDS = 1800.0


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
    brake: Brake

    def approvers_by_ids(self, approval_ids: Collection[str]) -> tuple[str, ...]:
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


def find_strictest_rule(
    parts: LoopParts, name: TargetName, observed_as: Mode = Mode.OBSERVE
) -> TargetRule | None:
    """The rule of a target, merged with those of its source's other names for what it is bound to.

    Sources do not trust one another: a name of another one is refused, and changes no rule here.
    `observed_as` is the mode in place of the target's own observe.
    """
    rule, row = find_target_rule(parts, name), parts.store.find_target(name)
    if rule is not None and rule.mode is Mode.OBSERVE:
        rule = replace(rule, mode=observed_as)
    if rule is None or row is None or row.binding is None:
        return rule
    pauses, others = parts.store.list_pauses(), dict[str, None]()
    bound = row.binding
    for other in parts.store.list_targets_of_backend(bound.backend, bound.lineage):
        is_same = may_be_one_state(bound, other.found_binding)
        is_beside = other.name != name and other.name.source == name.source and not other.is_gone
        other_rule = _find_rule_with_pause(parts, other.name, pauses) if is_beside else None
        if is_same and other_rule is not None:
            if is_stricter(other_rule, rule):
                others[name_to_readers(parts.settings.access, name, other.name)] = None
            rule = merge_rules(rule, other_rule)
    return replace(rule, stricter_by=", ".join(others))


def find_acting_rule(parts: LoopParts, row: TargetRow) -> TargetRule | None:
    """The strictest rule, or that of a check for which a person wants a target applied."""
    now = find_rule_of_now(parts, row.name) if row.is_applied_now else None
    return now or find_strictest_rule(parts, row.name)


def find_rule_of_now(parts: LoopParts, name: TargetName) -> TargetRule | None:
    """The rule by which a target in mode observe is applied on request: approve in its place.

    None for another mode, and where another target's stricter rule counts beside it.
    """
    observed = find_strictest_rule(parts, name)
    rule = find_strictest_rule(parts, name, Mode.APPROVE)
    if rule is None or observed is None or observed.mode is not Mode.OBSERVE:
        return None
    return None if rule.mode is Mode.OBSERVE or rule.stricter_by else replace(rule, is_of_now=True)


def in_own_mode(parts: LoopParts, row: TargetRow, decision: TargetDecision) -> TargetDecision:
    """A decision as it is recorded: what is observed stays so, also after an apply of now."""
    if not row.is_applied_now:
        return decision
    return replace(decision, rule=find_strictest_rule(parts, row.name) or _OBSERVING_RULE)


def list_rows_to_apply(store: ReadableStore, row: TargetRow) -> Sequence[HoldRow]:
    """The rows of the plan that a target's page shows, as they wait for an apply of now."""
    run = store.find_run(row.last_run) if row.last_run else None
    plan = parse_readable_plan(run.plan_json) if run is not None else None
    if run is None or plan is None or run.outcome is not RunOutcome.CHANGES:
        return []
    held_rows = judge_rows(list_planned_rows(plan), ApplyTerms()).held_rows
    return [
        HoldRow(
            row.name,
            held.row.digest,
            held,
            run.commit,
            run.id,
            run.began_at,
            number,
        )
        for number, held in enumerate(held_rows)
    ]


def _find_rule_with_pause(
    parts: LoopParts, name: TargetName, pauses: Sequence[PauseRow]
) -> TargetRule | None:
    """The rule of a target, with the longest pause that holds for it; `pauses` as people's."""
    rule = find_target_rule(parts, name)
    pause = longest_active_pause(rule, pauses, name, parts.clock.read_wall())
    fixed = FixedPause(pause.reason, pause.until) if pause is not None else None
    return replace(rule, pause=fixed) if rule is not None else None


def settle_binding(parts: LoopParts, claimed: ClaimedTarget, look: FinishedRun) -> FinishedRun:
    """Bind a target to what its first look found, or to what people have accepted since.

    A look at anything else holds the target; one at what an older name is bound to is a failure.
    """
    name, result, new = claimed.row.name, look.result, look.result.binding
    if new is None or not new.lineage or result.outcome.is_failure:
        return look
    row, now = claimed.row, parts.clock.read_wall()
    known = [binding and (binding, binding.token) for binding in (row.binding, row.found_binding)]
    if known == [(new, new.token)] * 2:
        return look
    mirror = parts.configured.mirrors.get(name.source)
    try:
        declared = mirror.list_targets(row.wanted_commit) if mirror is not None else ()
        one_tenant = {one.name for one in declared if may_be_one_tenant(one.backend, new.backend)}
    except SynapseApplyError as problem:
        failure = RunOutcome.PLAN_ERROR
        result = RunResult(failure, findings=problem.diagnostics, result_digest="unread project")
        return look._replace(result=result)
    # Git is asked here, and not in the transaction, in which others wait; what it said is kept.
    find_approvals_and_authors(parts, row, _find_rule_of_binding(parts, name, new, one_tenant)[0])
    with parts.write() as writer:
        if not writer.is_claim_own(name, parts.holder, claimed.epoch):
            return look
        access = parts.settings.access
        rule, beside = _find_rule_of_binding(parts, name, new, one_tenant)
        approvals, authors = find_approvals_and_authors(parts, row, rule)
        approvals = [
            approval
            for approval in approvals
            for person in [Person(approval.who, frozenset(approval.groups))]
            if all(Right.APPROVE in list_rights(access, person, other) for other in beside)
        ]
        row = parts.store.find_target(name) or row
        bound, detail = row.binding, ""
        if row.found_binding is None or not row.found_binding.means(new):
            # They were given for what was found then.
            for given in parts.store.list_approvals(name):
                if not given.used_at:
                    end_approval(parts, writer, given, "given for another backend or state", now)
            approvals = []
        backend = parts.store.list_targets_of_backend(new.backend)
        others = [other for other in backend if other.name != name]
        is_own = may_be_one_state(new, bound)
        owner = next(
            (
                other
                for other in others
                if other.binding == new or (not is_own and may_be_one_state(new, other.binding))
            ),
            None,
        )
        if owner is not None and owner.name.source not in parts.settings.sources:
            # The operator has taken its source out, and its rule with it.
            writer.put(replace(owner, binding=None))
            owner = None
        is_same, is_first = bound is not None and bound.means(new), bound is None and not beside
        shown = dict.fromkeys(name_to_readers(access, name, other) for other in beside[:3])
        move = build_moved_row(bound, new, ", ".join(shown))
        is_rejected = move.digest in list_rejected_digests(parts, name)
        if row.found_binding != new and (beside or owner):
            # For the operator: not every reader of this target may know of the others.
            found = [str(other) for other in [*beside, *([owner.name] if owner else [])]]
            parts.log("warn", "binding beside others", target=name, others=", ".join(found))
        count = count_approvals_of_row(
            rule, approvals, move, now=now, access=access, authors=authors
        )
        if owner is not None:
            is_own_source = owner.name.source == name.source
            result = second_name_result(
                owner, name_to_readers(access, name, owner.name), is_own_source=is_own_source
            )
        elif is_same and bound and bound.token not in {"", new.token}:
            detail = f"token: {new.token}, not {bound.token}"
            warning = warning_finding("The token now comes from another variable or file", detail)
            result = replace(result, findings=(*result.findings, warning))
        elif is_same or is_first:
            detail = f"{new}, token: {new.token}" if not (bound and bound.token) else ""
        elif count.is_enough and not is_rejected:
            detail = f"{move.summary}; {describe_approvals(count)}"
            writer.mark_approvals_used(count.approval_ids, look.id, now)
        else:
            rows, outcome = (*result.rows, move), RunOutcome.CHANGES
            result = replace(result, outcome=outcome, rows=rows, result_digest=move.digest)
        if detail:
            writer.append_audit(now, parts.who, "bind", str(name), detail)
            parts.log("info", "bind", target=name, detail=detail)
        row = replace(row, binding=new if detail else bound, found_binding=new)
        writer.put(row)
    return look._replace(result=result)


def _find_rule_of_binding(
    parts: LoopParts, name: TargetName, new: Binding, declared: AbstractSet[str]
) -> tuple[TargetRule, list[TargetName]]:
    """The strictest rule by which a target is bound, and the others whose rules are stricter.

    `declared` are those of the tenant in the commit that is looked at.
    """
    rule = find_strictest_rule(parts, name) or _OBSERVING_RULE
    pauses, beside = parts.store.list_pauses(), []
    # Each of the others is compared with this one's own rule: by a rule that was merged with one of
    # a name that a commit added, none would be stricter.
    own_rule = _find_rule_with_pause(parts, name, pauses) or _OBSERVING_RULE
    rule = merge_rules(rule, own_rule)
    there = parts.store.list_targets_of_backend(new.backend)
    names = {other.name.target for other in there if other.name.source == name.source}
    others = sorted((names | declared) - {name.target})
    for other in (TargetName(name.source, target) for target in others):
        other_rule = _find_rule_with_pause(parts, other, pauses) or own_rule
        if is_stricter(other_rule, own_rule):
            rule = merge_rules(rule, other_rule)
            beside.append(other)
    return rule, beside


def end_approval(
    parts: LoopParts, writer: StoreWriter, approval: ApprovalRow, why: str, now: float
) -> None:
    """Delete an unused approval; the audit says why."""
    writer.delete_approval(approval.id)
    detail = f"{why}: {approval.row} ({approval.row_digest}); approved by {approval.who}"
    writer.append_audit(now, parts.who, "end approval", str(approval.target), detail)


def judge_now(parts: LoopParts, row: TargetRow, rows: Sequence[PlannedRow]) -> TargetDecision:
    """Judge the rows of a target's plan by all that holds now."""
    now = parts.clock.read_wall()
    rule, access = find_strictest_rule(parts, row.name) or _OBSERVING_RULE, parts.settings.access
    # What has waited for long, for a lock or a start of the controller, is not of now any more.
    digests, oldest = {row.digest for row in rows}, now - _APPLY_NOW_SECONDS
    if any(
        one.row_digest in digests and one.approved_at > oldest and not one.used_at
        for one in parts.store.list_approvals(row.name)
    ):
        rule = find_acting_rule(parts, row) or rule
    approvals, authors = find_approvals_and_authors(parts, row, rule)
    rejected = list_rejected_digests(parts, row.name)
    terms = build_apply_terms(
        rule, approvals, rows, now=now, access=access, authors=authors, rejected=rejected
    )
    brake = _find_brake(parts, row) if rows or row.restored else parts.settings.defaults.brake
    brakes = list_brakes(row, rule, brake, now)
    terms = replace(terms, brakes=tuple(brakes), is_live=row.is_live)
    planned = {approval.row_digest: approval.row for approval in approvals}
    planned |= {one.digest: one for one in rows}
    approvers = {
        digest: count_approvals_of_row(
            rule, approvals, planned[digest], now=now, access=access, authors=authors
        ).who_counts
        for digest in terms.approvals
    }
    block = find_apply_block(rule, list_pauses_and_abort(parts, row.name), row.name, now)
    return TargetDecision(rule, terms, approvers, judge_rows(rows, terms), block, brake)


def _find_brake(parts: LoopParts, row: TargetRow) -> Brake:
    """The brake of a target, by controller.yaml and by its policy in Git."""
    brake, mirror = parts.settings.defaults.brake, parts.configured.mirrors.get(row.name.source)
    targets: Sequence[LabelledTarget] = ()
    with suppress(SynapseApplyError):
        targets = mirror.list_targets(row.wanted_commit) if mirror is not None else ()
    figures = [one.brake for one in targets if one.name == row.name.target]
    return brake.tightened(figures[0]) if figures else brake


def may_create_state(parts: LoopParts, row: TargetRow, rule: TargetRule) -> bool:
    """Whether a look may create the state of a target: only of one that never had one.

    Where something was known before, its state is lost or elsewhere, and a person has to say which.
    """
    is_new = row.binding is None and row.found_binding is None and not row.applied_commit
    if not (rule.create_state and is_new) or rule.mode is Mode.OBSERVE:
        return False
    pauses = list_pauses_and_abort(parts, row.name)
    return find_apply_block(rule, pauses, row.name, parts.clock.read_wall()) is None


def list_pauses_and_abort(parts: LoopParts, name: TargetName) -> Sequence[PauseRow]:
    """The pauses of people, and that of a target whose rollout was aborted while it changed."""
    pauses = parts.store.list_pauses()
    target = parts.store.find_rollout_target(name) if parts.settings.rollouts else None
    pause = find_pause_of_abort(target) if target is not None else None
    return [*pauses, pause] if pause is not None else pauses


def list_rejected_digests(parts: LoopParts, name: TargetName) -> set[str]:
    """The digests of a target's rows that a person has said are not to be done."""
    return {hold.row_digest for hold in parts.store.list_holds(name) if hold.rejected_by}


def judge_begun(
    parts: LoopParts, row: TargetRow, rows: Sequence[PlannedRow], begun: TargetDecision
) -> TargetDecision:
    """Judge the rows that an apply had, by its own terms: what it used up is not held."""
    now = parts.clock.read_wall()
    block = find_apply_block(begun.rule, list_pauses_and_abort(parts, row.name), row.name, now)
    # One that ended before it told its rows was to do those of the look.
    judgement = judge_rows(rows, begun.terms) if rows else begun.judgement
    return replace(begun, judgement=judgement, block=block)


def find_approvals_and_authors(
    parts: LoopParts, row: TargetRow, rule: TargetRule
) -> tuple[Sequence[ApprovalRow], tuple[str, ...]]:
    """The unused approvals of a target, and who wrote what would be applied if that counts.

    No approval where that counts and cannot be told.
    """
    approvals = [row for row in parts.store.list_approvals(row.name) if not row.used_at]
    if not approvals or not rule.not_author:
        return approvals, ()
    authors = parts.commits.authors_to_apply(row)
    if authors is None:
        parts.log("warn", "authors unknown", target=row.name, commit=row.wanted_commit)
        return (), ()
    return approvals, authors
