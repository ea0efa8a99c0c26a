"""Which changes of a fresh plan a saved or reviewed plan allows; no other is ever made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from synapse_apply.model.plan import Action, Change, GuardViolation, Plan
from synapse_apply.planning import guards
from synapse_apply.planning.create_companions import find_companion_address
from synapse_apply.planning.staleness import compare_rows

_REMOVALS = frozenset({Action.DELETE, Action.FORGET})
_CREATES = frozenset({Action.CREATE, Action.RECREATE})
# Guards that count changes of one action; the others judge the target as a whole.
_ACTION_OF_GUARD = {guards.RECREATE: Action.RECREATE, guards.ADOPT: Action.ADOPT}


def narrow_plan(saved: Plan, fresh: Plan, *, reviewed: bool) -> Plan:
    """The fresh plan with only the saved changes that still hold; each other one is refused.

    Changes that the saved plan lacks are left out, since it did not touch them; with `reviewed`
    they are refused. A change that has been made already becomes a note.
    """
    ids = {change.address: change.remote_id for change in fresh.changes}
    current_changes = {change.address: change for change in fresh.changes}
    planned_changes = {
        change.address: compare_rows.resolve_known_ids(
            change, current_changes.get(change.address), ids
        )
        for change in saved.changes
    }
    rows_by_address = {
        change.address: _narrow_row(
            planned_changes.pop(change.address, None), change, reviewed=reviewed
        )
        for change in fresh.changes
    }
    # Objects that one call creates are stopped together, whichever of them comes first.
    stopped_addresses = {
        address for address, row in rows_by_address.items() if row.is_refused or not is_due(row)
    }
    stopped_addresses &= set(filter(None, map(find_companion_address, rows_by_address.values())))
    rows: list[Change] = []
    for change in fresh.changes:
        row = rows_by_address[change.address]
        # Fresh changes are in dependency order, so what is stopped is known before its dependents.
        if _waits_for_dependencies(row) and (
            needs := stopped_addresses & {*row.depends_on, find_companion_address(row)}
        ):
            row = compare_rows.build_dependent_row(row, needs, reviewed=reviewed)
        if row.is_refused or _is_create_left_out(row, change):
            stopped_addresses.add(row.address)
        rows.append(row)
    rows += [
        _build_gone_row(change, reviewed=reviewed)
        for change in planned_changes.values()
        if is_due(change)
    ]
    return replace(
        fresh,
        # By the saved plan's id the state knows that it was applied, and that it cannot be again.
        id=fresh.id if reviewed else saved.id,
        changes=tuple(rows),
        guards=tuple(_filter_active_guards(fresh.guards, rows)),
    )


def _narrow_row(before: Change | None, now: Change, *, reviewed: bool) -> Change:
    was_planned = before is not None and is_due(before)
    if before is not None and was_planned:
        if not now.is_refused and (not is_due(now) or _is_only_run_left(before, now)):
            return _with_done_already_note(before, now)
        if now.is_refused or not compare_rows.is_same_change(before, now):
            return compare_rows.build_stale_row(before, now, reviewed=reviewed)
        return now
    if not is_due(now) and not now.is_refused:
        return now
    if before is not None and before.is_refused:
        return (
            now if now.is_refused else compare_rows.build_stale_row(before, now, reviewed=reviewed)
        )
    if reviewed:
        return now if now.is_refused else compare_rows.build_unreviewed_row(now)
    # An open call stays visible, although the saved plan does not have it.
    is_outcome_unknown = any(refusal.outcome_unknown for refusal in now.refusals)
    return now if is_outcome_unknown else _build_left_out_row(now)


def is_due(change: Change) -> bool:
    """Whether a reader of the plan saw that something will be done about this address."""
    due = change.action is not Action.NO_OP or change.verification is not None
    return due and not change.superseded and not change.is_refused


def _waits_for_dependencies(row: Change) -> bool:
    """Whether a change is left out if its dependencies are: a call, or the end of a record."""
    return row.changes_server or (row.action is Action.FORGET and not row.is_refused)


def _is_only_run_left(before: Change, now: Change) -> bool:
    """Whether an earlier apply made the change, and only its verification run is left."""
    is_otherwise_done = now.action is Action.NO_OP and before.action is not Action.NO_OP
    return (
        is_otherwise_done and now.verification is not None and compare_rows.is_same_run(before, now)
    )


def _build_left_out_row(now: Change) -> Change:
    due_text = "refused now" if now.is_refused else f"{_action_word(now)} would be due now"
    return replace(
        _build_no_op_row(now, f"not in this plan ({due_text}): left as it is"),
        extras={"left_out": now.action.value},
    )


def _with_done_already_note(before: Change, now: Change) -> Change:
    notes = (*now.notes, f"{_action_word(before)} was planned, and it is so already")
    return replace(now, notes=notes)


def _action_word(change: Change) -> str:
    is_run = change.action is Action.NO_OP and change.verification is not None
    return "verification" if is_run else change.action.value


def _build_gone_row(before: Change, *, reviewed: bool) -> Change:
    if before.action in _REMOVALS:
        return _build_no_op_row(
            before, f"{before.action.value} was planned, and it is not recorded any more"
        )
    return compare_rows.build_gone_row(before, reviewed=reviewed)


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


def _is_create_left_out(narrowed: Change, fresh: Change) -> bool:
    """Whether the new plan creates an object that the narrowed row does not create."""
    return fresh.action in _CREATES and not is_due(narrowed)


def _filter_active_guards(
    violations: Iterable[GuardViolation], rows: Iterable[Change]
) -> Iterable[GuardViolation]:
    planned_actions = {row.address: row.action for row in rows if is_due(row)}
    for violation in violations:
        # Changes that were left out do not count against a limit any more.
        counted = sum(address in planned_actions for address in violation.rows)
        if violation.rows:
            is_violated = counted > violation.limit
        else:
            is_violated = _ACTION_OF_GUARD.get(violation.name) in {None, *planned_actions.values()}
        if is_violated:
            yield violation
