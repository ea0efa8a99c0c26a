"""Which changes of a fresh plan a saved or reviewed plan allows; no other is ever made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action, Change, GuardViolation, Plan
from synapse_apply.planning import guards
from synapse_apply.planning.create_companions import find_companion_address
from synapse_apply.planning.staleness import compare_rows

_REMOVALS = frozenset({Action.DELETE, Action.FORGET})
_CREATES = frozenset({Action.CREATE, Action.RECREATE})
# Guards that count changes of one action; the others judge the target as a whole.
ACTION_OF_GUARD = {guards.RECREATE: Action.RECREATE, guards.ADOPT: Action.ADOPT}


def narrow_plan(saved: Plan, fresh: Plan, *, reviewed: bool) -> Plan:
    """The fresh plan with only the saved changes that still hold; each other one is refused.

    Changes that the saved plan lacks are left out, since it did not touch them; with `reviewed`
    they are refused. A change that has been made already becomes a note.
    """
    ids = {change.address: change.remote_id for change in fresh.changes}
    current_changes = {change.address: change for change in fresh.changes}
    planned_changes = {
        change.address: compare_rows.with_ids_created_meanwhile(
            change, current_changes.get(change.address), ids
        )
        for change in saved.changes
    }
    waiting: set[Address] = set()
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
        )
    # Objects that one call creates are stopped together, whichever of them comes first.
    stopped_addresses = {
        address
        for address, row in rows_by_address.items()
        if row.is_refused or not is_shown_as_to_be_done(row)
    }
    stopped_addresses &= set(filter(None, map(find_companion_address, rows_by_address.values())))
    rows: list[Change] = []
    for change in fresh.changes:
        row = rows_by_address[change.address]
        if (
            row.has_unrefused_call_or_run or (row.action is Action.FORGET and not row.is_refused)
        ) and (needs := stopped_addresses & {*row.depends_on, find_companion_address(row)}):
            row = compare_rows.refuse_needing_row(row, needs, reviewed=reviewed)
        if row.is_refused or (change.action in _CREATES and not is_shown_as_to_be_done(row)):
            stopped_addresses.add(row.address)
        rows.append(row)
    rows += [
        _narrow_removal(change, reviewed=reviewed)
        for change in planned_changes.values()
        if is_shown_as_to_be_done(change)
    ]
    return replace(
        fresh,
        # By the saved plan's id the state knows that it was applied, and that it cannot be again.
        id=fresh.id if reviewed else saved.id,
        changes=tuple(rows),
        guards=tuple(violated_guards(fresh.guards, rows)),
    )


def _narrow_row(before: Change | None, now: Change, *, reviewed: bool, waits: bool) -> Change:
    """The row that a saved plan allows. Of one that `waits` it is not told yet what has changed."""
    was_planned = before is not None and is_shown_as_to_be_done(before)
    if before is not None and was_planned:
        if not now.is_refused and (
            not is_shown_as_to_be_done(now) or _is_only_run_left(before, now)
        ):
            notes = (*now.notes, f"{_action_word(before)} was planned, and it is so already")
            return replace(now, notes=notes)
        if waits:
            return replace(now, action=before.action)
        if now.is_refused or not compare_rows.has_same_effect(before, now):
            return compare_rows.refuse_changed_row(before, now, reviewed=reviewed)
        return now
    if not is_shown_as_to_be_done(now) and not now.is_refused:
        return now
    if before is not None and before.is_refused:
        return (
            now
            if now.is_refused
            else compare_rows.refuse_changed_row(before, now, reviewed=reviewed)
        )
    if reviewed:
        return now if now.is_refused else compare_rows.with_unreviewed_refusal(now)
    # An open call stays visible, although the saved plan does not have it.
    is_outcome_unknown = any(refusal.outcome_unknown for refusal in now.refusals)
    due_text = "refused now" if now.is_refused else f"{_action_word(now)} would be due now"
    return now if is_outcome_unknown else build_left_out_row(now, f"not in this plan ({due_text})")


def is_shown_as_to_be_done(change: Change) -> bool:
    """Whether a reader of the plan saw that something will be done about this address."""
    due = change.action is not Action.NO_OP or change.verification is not None
    return due and not change.superseded and not change.is_refused


def _is_only_run_left(before: Change, now: Change) -> bool:
    """Whether an earlier apply made the change, and only its verification run is left."""
    is_otherwise_done = now.action is Action.NO_OP and before.action is not Action.NO_OP
    return (
        is_otherwise_done
        and now.verification is not None
        and compare_rows.has_same_run(before, now)
    )


def build_left_out_row(now: Change, reason: str) -> Change:
    """A copy that changes nothing, with a note of the reason; what was due is in its extras."""
    return replace(
        _build_no_op_row(now, f"{reason}: left as it is"), extras={"left_out": now.action.value}
    )


def _action_word(change: Change) -> str:
    is_run = change.action is Action.NO_OP and change.verification is not None
    return "verification" if is_run else change.action.value


def _narrow_removal(before: Change, *, reviewed: bool) -> Change:
    if before.action in _REMOVALS:
        return _build_no_op_row(
            before, f"{before.action.value} was planned, and it is not recorded any more"
        )
    return compare_rows.refuse_gone_row(before, reviewed=reviewed)


def _build_no_op_row(change: Change, note: str) -> Change:
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


def violated_guards(
    violations: Iterable[GuardViolation], rows: Iterable[Change]
) -> Iterable[GuardViolation]:
    """The guards that these rows, which may be fewer than those of the plan, still violate."""
    planned_actions = {row.address: row.action for row in rows if is_shown_as_to_be_done(row)}
    for violation in violations:
        # Changes that were left out do not count against a limit any more.
        counted = sum(address in planned_actions for address in violation.rows)
        if violation.rows:
            is_violated = counted > violation.limit
        else:
            is_violated = ACTION_OF_GUARD.get(violation.name) in {None, *planned_actions.values()}
        if is_violated:
            yield violation
