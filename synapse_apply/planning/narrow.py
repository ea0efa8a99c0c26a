"""Which rows of a fresh plan may be done: those of saved or reviewed plans, or permitted ones.

No other is ever done.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Position
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.plan import (
    UNTOLD_PACKAGE_SUMMARY,
    Action,
    Change,
    GuardViolation,
    Plan,
    Refusal,
)
from synapse_apply.model.project import RULE_ID_PREFIX
from synapse_apply.model.report import Report
from synapse_apply.planning import guards
from synapse_apply.planning.decision import CREATES
from synapse_apply.planning.rows import (
    compute_row_digest,
    digest_for_target,
    explain_difference,
    has_same_effect,
    plain_run,
    with_ids_created_meanwhile,
)
from synapse_apply.planning.series import CARRIED_BY, CARRIES, find_companion_address

STALE, UNREVIEWED = "stale", "unreviewed"
# Guards that count changes of one action; the others judge the target as a whole.
_ACTION_OF_GUARD = {guards.RECREATE: Action.RECREATE, guards.ADOPT: Action.ADOPT}
_APPROVAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


# By address; a later row replaces an earlier one. "No change" replaces none: most plans were made
# without the other merge, and what is applied is always a row that a reader saw, complete and
# unchanged. A refusal in a later plan does take it away, because its reader saw that nothing would
# be done.
def unite_plans(plans: Sequence[Plan]) -> Plan:
    """One plan with the changes of all plans, older ones first; the rest is from the newest.

    An address has the change of the newest plan that makes or refuses one. A plan that leaves an
    address as it is, or does not list it, removes no change of an older plan: it was most likely
    made without the older merge, and every change that is made was reviewed. Renames are those of
    all plans.
    """
    rows: dict[Address, Change] = {}
    for plan in plans:
        for change in plan.changes:
            older = rows.get(change.address)
            # Whether a reader saw more of it than that it stays as it is.
            is_told = older is not None and (older.is_due or older.is_refused)
            if change.is_due or change.is_refused or not is_told:
                rows[change.address] = change
    moves = {(move.old, move.new): move for plan in plans for move in plan.moved}
    return replace(plans[-1], changes=tuple(rows.values()), moved=tuple(moves.values()))


def narrow_plan(
    saved: Plan, fresh: Plan, *, reviewed: bool, done: frozenset[Address] = frozenset()
) -> Plan:
    """The fresh plan with only the saved changes that still hold; each other one is refused.

    Changes that the saved plan lacks are left out, since it did not touch them; with `reviewed`
    they are refused. A change that has been made already becomes a note; one that this saved plan
    has `done` before, and that is due again, is refused.
    """
    ids = {change.address: change.remote_id for change in fresh.changes}
    current_changes = {change.address: change for change in fresh.changes}
    planned_changes = {
        change.address: with_ids_created_meanwhile(change, current_changes.get(change.address), ids)
        for change in saved.changes
    }
    waiting: set[Address] = set()
    untold = {
        found.address for found in fresh.diagnostics if found.summary == UNTOLD_PACKAGE_SUMMARY
    }
    rows_by_address = {}
    # Fresh changes are in dependency order, so what waits is known before its dependents.
    for change in fresh.changes:
        if change.is_refused and (
            any(refusal.ends_by_itself for refusal in change.refusals)
            or not waiting.isdisjoint(change.depends_on)
        ):
            waiting.add(change.address)
        rows_by_address[change.address] = _narrow_row(
            planned_changes.pop(change.address, None),
            change,
            reviewed=reviewed,
            waits=change.address in waiting,
            is_untold=str(change.address) in untold,
        )
        if change.address in done and (row := rows_by_address[change.address]).is_due:
            reason = "this plan has already done it, and a plan does it only once"
            rows_by_address[row.address] = _refuse(row, reason, row.position, reviewed=reviewed)
    # Objects that one call creates are stopped together, whichever of them comes first.
    stopped = {address for address, row in rows_by_address.items() if not row.is_due}
    stopped &= set(filter(None, map(find_companion_address, rows_by_address.values())))
    rows: list[Change] = []
    for change in fresh.changes:
        row = rows_by_address[change.address]
        if (
            row.has_unrefused_call_or_run or (row.action is Action.FORGET and not row.is_refused)
        ) and (needs := stopped & {*row.depends_on, find_companion_address(row)}):
            names = format_short_list(sorted(needs))
            reason = f"it needs {names}, which this apply leaves out"
            row = _refuse(row, reason, row.position, reviewed=reviewed)
        if row.is_refused or (change.action in CREATES and not row.is_due):
            stopped.add(row.address)
        rows.append(row)
    for change in planned_changes.values():
        if change.is_due and change.action in {Action.DELETE, Action.FORGET}:
            note = f"{change.action.value} was planned, but the state no longer records it"
            rows.append(_without_deed(change, note))
        elif change.is_due:
            reason = "it is no longer declared or recorded"
            rows.append(_refuse(change, reason, None, reviewed=reviewed))
    return replace(
        fresh,
        # By the saved plan's id the state knows that it was applied, and that it cannot be again.
        id=fresh.id if reviewed else saved.id,
        changes=tuple(rows),
        guards=tuple(_violated_guards(fresh.guards, rows)),
    )


def _narrow_row(
    before: Change | None, now: Change, *, reviewed: bool, waits: bool, is_untold: bool
) -> Change:
    """The row that a saved plan allows. Of one that `waits` it is not told yet what has changed.

    Where it `is_untold` whose package is published, that may not be what was planned.
    """
    if before is not None and before.is_due:
        # An earlier apply may have made the change, so that only its run is left.
        is_only_run_left = (
            now.action is Action.NO_OP
            and before.action is not Action.NO_OP
            and now.verification is not None
            and plain_run(before) == plain_run(now)
        )
        if not now.is_refused and (not now.is_due or is_only_run_left):
            what = (
                "it is unknown whose package is published"
                if is_untold
                else ("nothing is left to do")
            )
            note = f"{_action_word(before)} was planned, and {what}"
            return replace(now, notes=(*now.notes, note))
        if waits:
            return replace(now, action=before.action)
        if not now.is_refused and has_same_effect(before, now, reviewed=reviewed):
            return now
    elif not now.is_due and not now.is_refused:
        return now
    elif before is None or not before.is_refused:
        # An open call stays visible, although the saved plan does not have it.
        is_unknown = any(refusal.outcome_unknown for refusal in now.refusals)
        if is_unknown or (reviewed and now.is_refused):
            return now
        if reviewed:
            reason = "no reviewed plan contains it"
            return _refuse(now, reason, now.position, reviewed=reviewed, rule=UNREVIEWED)
        due = "refused now" if now.is_refused else f"{_action_word(now)} would be needed now"
        return _leave_out(now, f"not in this plan ({due})")
    elif now.is_refused:
        return now
    reason = "it differs from the reviewed plan" if reviewed else "it changed since it was planned"
    reason += explain_difference(before, now, reviewed=reviewed)
    row = _refuse(now, reason, now.position, reviewed=reviewed)
    # The fresh fields and notes say what would be done now, which is just what is refused.
    refusals = (*row.refusals, *now.refusals)
    return replace(row, action=before.action, fields=(), notes=(), refusals=refusals)


def _refuse(
    row: Change, reason: str, position: Position | None, *, reviewed: bool, rule: str = STALE
) -> Change:
    """The row, refused for this reason alone."""
    ways_out = ("review a new plan",) if reviewed else ("plan again",)
    refusal = Refusal(rule, reason, ways_out, position)
    return replace(row, refusals=(refusal,), rebase=False, verification=None)


def _leave_out(now: Change, reason: str) -> Change:
    """A copy that changes nothing, with a note of the reason; what was due is in its extras."""
    row = _without_deed(now, f"{reason}: left unchanged")
    return replace(row, extras={"left_out": now.action.value})


def _without_deed(change: Change, note: str) -> Change:
    """A copy that changes nothing, with a note that says why."""
    return replace(
        change,
        action=Action.NO_OP,
        fields=(),
        refusals=(),
        notes=(note,),
        reason="",
        rebase=False,
        held=(),
        after=change.before,
        after_sensitive=change.before_sensitive,
        after_unknown=(),
        verification=None,
    )


def _action_word(change: Change) -> str:
    is_run = change.action is Action.NO_OP and change.verification is not None
    return "verification" if is_run else change.action.value


def _violated_guards(
    violations: Iterable[GuardViolation], rows: Iterable[Change]
) -> Iterator[GuardViolation]:
    """The guards that these rows, which may be fewer than those of the plan, still violate."""
    planned_actions = {row.address: row.action for row in rows if row.is_due}
    for violation in violations:
        # Changes that were left out do not count against a limit any more.
        counted = sum(address in planned_actions for address in violation.rows)
        if violation.rows:
            is_violated = counted > violation.limit
        else:
            is_violated = _ACTION_OF_GUARD.get(violation.name) in {None, *planned_actions.values()}
        if is_violated:
            yield violation


@frozen
class PermittedRows:
    """The rows of one plan that may be done, by their addresses; no other is.

    `approvals` are the ids of approvals that a row uses up: it is done only if none of them was
    used before, and each is used in the transaction that begins the row. `overridden_guards` may
    pass; `guard_approvals` are used up with the first row that begins. ValueError for an id that is
    not of 1 to 100 letters, digits, `.`, `_` and `-`.
    """

    addresses: frozenset[Address] = frozenset()
    overridden_guards: frozenset[str] = frozenset()
    approvals: Mapping[Address, tuple[str, ...]] = field(default_factory=dict)
    guard_approvals: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(map(_APPROVAL_ID.fullmatch, self.list_approval_ids())):
            raise ValueError("an approval's id has 1 to 100 letters, digits, '.', '_' and '-'")

    def list_approval_ids(self) -> tuple[str, ...]:
        """The ids of all approvals, each once."""
        row_ids = (approval_id for ids in self.approvals.values() for approval_id in ids)
        return tuple(dict.fromkeys((*self.guard_approvals, *row_ids)))


@frozen
class PermittedApply:
    """What an apply of permitted rows did.

    The report's plan has all rows; one that was not to be done is a no-op with a note. Of the
    approvals that were given, `used_approvals` are used up by now, be it by an earlier run.
    `returned_approvals` are unused again: the call of an earlier run was found not to be done.
    `stop_reason` is why nothing more could begin at its end, "" where it could.
    """

    report: Report
    used_approvals: tuple[str, ...] = ()
    stop_reason: str = ""
    returned_approvals: tuple[str, ...] = ()


def narrow_to_permitted_rows(plan: Plan, permitted: PermittedRows, plan_id: str) -> Plan:
    """The plan, under another id, with the permitted changes alone; others are left as they are.

    A change is left out, with a note that says why, unless it is permitted and so is all that it
    needs of this plan: dependencies and the other object of its call. Refused ones stay refused.
    What sends no call (`has_work_without_permission`) stays. Guards are judged again by what is
    left; only `overridden_guards` pass, and never a policy's rule.
    """
    made = {
        change.address: change
        for change in plan.changes
        if change.is_due and (change.address in permitted.addresses or _only_follows_job(change))
    }
    dependents: dict[Address, list[Address]] = defaultdict(list)
    for address, change in made.items():
        for need in () if _only_follows_job(change) else list_needed_addresses(change):
            dependents[need].append(address)
    # What stays as it is prevents nothing.
    stopped = {
        change.address
        for change in plan.changes
        if change.address not in made and (change.is_refused or change.is_due)
    }
    queue = deque(stopped)
    while queue:
        for address in dependents.get(queue.popleft(), ()):
            if made.pop(address, None) is not None:
                stopped.add(address)
                queue.append(address)
    rows = []
    for change in plan.changes:
        if change.is_due and change.address in stopped:
            reason = "it is not allowed at this time"
            if change.address in permitted.addresses:
                needs = [need for need in list_needed_addresses(change) if need in stopped]
                reason = f"it needs {format_short_list(needs)}, which this apply leaves out"
            rows.append(_leave_out(change, reason))
        else:
            rows.append(change)
    left_guards = tuple(
        guard
        for guard in _violated_guards(plan.guards, rows)
        if guard.name not in permitted.overridden_guards or guard.name.startswith(RULE_ID_PREFIX)
    )
    return replace(plan, id=plan_id, changes=tuple(rows), guards=left_guards)


def list_decidable_changes(plan: Plan) -> tuple[Change, ...]:
    """The changes that somebody decides about, in the plan's order: what is asked for, or refused.

    A verification run whose job is known already is none: it is only followed.
    """
    return tuple(
        change
        for change in plan.changes
        if change.is_refused or (change.is_due and not _only_follows_job(change))
    )


def has_work_without_permission(plan: Plan) -> bool:
    """Whether a plan has something that sends no call.

    That is renames of addresses, records to be updated to what is so already, and runs to be
    followed. Plans that are stopped by an error or a guard have none, nor have offline plans.
    """
    if plan.has_errors or plan.guards or plan.base.is_offline:
        return False
    return bool(plan.moved) or any(
        change.action is Action.NO_OP
        and not change.is_refused
        and not change.superseded
        and (change.rebase or _only_follows_job(change))
        for change in plan.changes
    )


def _only_follows_job(change: Change) -> bool:
    """Whether all that is left of a change is the end of a run whose job is recorded."""
    run = change.verification
    return change.action is Action.NO_OP and run is not None and bool(run.job)


def list_needed_addresses(change: Change) -> tuple[Address, ...]:
    """The addresses without which a change is not made: dependencies, and the same call's other.

    A need that the plan leaves as it is does not prevent it.
    """
    companions = (find_companion_address(change, key) for key in (CARRIES, CARRIED_BY))
    return tuple(sorted({*change.depends_on, *filter(None, companions)}))


def list_counted_addresses(guard: GuardViolation, plan: Plan) -> tuple[Address, ...]:
    """The addresses that a guard counts, of which `limit` may be done; () if it judges them all."""
    if guard.rows:
        return guard.rows
    action = _ACTION_OF_GUARD.get(guard.name)
    if action is None:
        return ()
    return tuple(
        change.address for change in plan.changes if change.action is action and change.is_due
    )


def compute_guard_digest(guard: GuardViolation, plan: Plan) -> str:
    """`row1:` and 64 hex digits over a guard and the rows that it counts, all rows if none.

    So an approval of a guard is one of these rows together, and of no other.
    """
    counted = {*list_counted_addresses(guard, plan)}
    row_digests = [
        compute_row_digest(change, plan.base)
        for change in list_decidable_changes(plan)
        if not counted or change.address in counted
    ]
    return digest_for_target(
        plan.base, {"guard": guard.name, "limit": guard.limit, "rows": sorted(row_digests)}
    )
