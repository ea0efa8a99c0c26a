"""A fresh plan cut down to what a saved or reviewed one says: nothing more is ever done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from synapse_apply.model.plan import Action, Change, GuardTrip, Plan
from synapse_apply.planning import guards, stale
from synapse_apply.planning.along import carried

_ENDS = frozenset({Action.DELETE, Action.FORGET})
_MAKES = frozenset({Action.CREATE, Action.RECREATE})
# Guards that judge rows of one action; the others judge the target as a whole.
_OF_ROWS = {guards.RECREATE: Action.RECREATE, guards.ADOPT: Action.ADOPT}


def narrowed(saved: Plan, fresh: Plan, *, reviewed: bool) -> Plan:
    """The fresh plan with only the saved rows that are still true; the others are refused alone.

    Rows that the saved plan does not have are left out, for it did not touch them; with
    `reviewed` they are refused. What was planned and is so already is a note.
    """
    ids = {change.address: change.remote_id for change in fresh.changes}
    now = {change.address: change for change in fresh.changes}
    before = {
        change.address: stale.known_by_now(change, now.get(change.address), ids)
        for change in saved.changes
    }
    made = {
        change.address: _row(before.pop(change.address, None), change, reviewed=reviewed)
        for change in fresh.changes
    }
    # What one call makes together is stopped together, whichever row comes first.
    stopped = {address for address, row in made.items() if row.refused or not is_due(row)}
    stopped &= set(filter(None, map(carried, made.values())))
    rows: list[Change] = []
    for change in fresh.changes:
        row = made[change.address]
        if _waits(row) and (needs := stopped & {*row.depends_on, carried(row)}):
            row = stale.dependent(row, needs, reviewed=reviewed)
        if row.refused or _lacking(row, change):
            stopped.add(row.address)
        rows.append(row)
    rows += [_gone(change, reviewed=reviewed) for change in before.values() if is_due(change)]
    return replace(
        fresh,
        id=fresh.id if reviewed else saved.id,
        changes=tuple(rows),
        guards=tuple(_still(fresh.guards, rows)),
    )


def _row(before: Change | None, now: Change, *, reviewed: bool) -> Change:
    planned = before is not None and is_due(before)
    if before is not None and planned:
        if not now.refused and (not is_due(now) or _only_the_run_is_left(before, now)):
            return _done_already(before, now)
        if now.refused or not stale.same(before, now):
            return stale.refused(before, now, reviewed=reviewed)
        return now
    if not is_due(now) and not now.refused:
        return now
    if before is not None and before.refused:
        return now if now.refused else stale.refused(before, now, reviewed=reviewed)
    if reviewed:
        return now if now.refused else stale.unreviewed(now)
    unknown = any(refusal.outcome_unknown for refusal in now.refusals)
    return now if unknown else _left_out(now)


def is_due(change: Change) -> bool:
    """Whether a reader of the plan was told that something will be done about it."""
    due = change.action is not Action.NO_OP or change.verification is not None
    return due and not change.superseded and not change.refused


def _waits(row: Change) -> bool:
    """Whether it is not done where what it depends on is not: a call, or a record's end."""
    return row.changes_server or (row.action is Action.FORGET and not row.refused)


def _only_the_run_is_left(before: Change, now: Change) -> bool:
    """Whether an earlier apply did the rest: a run that did not pass is made again."""
    left = now.action is Action.NO_OP and before.action is not Action.NO_OP
    return left and now.verification is not None and stale.same_run(before, now)


def _left_out(now: Change) -> Change:
    what = "refused now" if now.refused else f"{_word(now)} would be due now"
    return replace(
        _quiet(now, f"not in this plan ({what}): left as it is"),
        extras={"left_out": now.action.value},
    )


def _done_already(before: Change, now: Change) -> Change:
    notes = (*now.notes, f"{_word(before)} was planned, and it is so already")
    return replace(now, notes=notes)


def _word(change: Change) -> str:
    is_run = change.action is Action.NO_OP and change.verification is not None
    return "verification" if is_run else change.action.value


def _gone(before: Change, *, reviewed: bool) -> Change:
    if before.action in _ENDS:
        return _quiet(before, f"{before.action.value} was planned, and it is not recorded any more")
    return stale.gone(before, reviewed=reviewed)


def _quiet(change: Change, note: str) -> Change:
    """A row that asks for nothing and says why."""
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


def _lacking(row: Change, fresh: Change) -> bool:
    """Whether an object is not there and will not be made either."""
    return fresh.action in _MAKES and not is_due(row)


def _still(trips: Iterable[GuardTrip], rows: Iterable[Change]) -> Iterable[GuardTrip]:
    going = {row.address: row.action for row in rows if is_due(row)}
    for trip in trips:
        counted = sum(address in going for address in trip.rows)
        if trip.rows:
            stops = counted > trip.limit
        else:
            stops = _OF_ROWS.get(trip.name) in {None, *going.values()}
        if stops:
            yield trip
