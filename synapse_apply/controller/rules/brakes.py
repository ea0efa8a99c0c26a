"""How often fields are restored that somebody changes outside of Git, and when they may be again.

So that neither a person nor a program that writes the same fields makes the controller apply
without end. A change in Git never waits, nor counts what a late call of the controller set.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from synapse_apply.controller.planned_rows import (
    MANY_FIELDS,
    FieldBrake,
    PlannedRow,
    RowAction,
    RowCause,
)
from synapse_apply.controller.rows import RestoredField, TargetRow
from synapse_apply.controller.settings import Brake, TargetRule
from synapse_apply.model.frozen import replace
from synapse_apply.model.phrases import format_count_and_noun

# The first wait is this share of the longest one; each time that it is restored doubles it.
_FIRST_SHARE = 1 / 32
# Of a target; what is restored beside these counts as one field.
_MAX_FIELDS, _MAX_TIMES = 500, 100
_OTHER_FIELDS = ("", MANY_FIELDS)
_RESTORING = frozenset({RowAction.UPDATE, RowAction.RECREATE, RowAction.CREATE, RowAction.DELETE})


def is_restoring(row: PlannedRow, *, is_live: bool) -> bool:
    """Whether a row does nothing but restore what somebody else has changed.

    With `is_live`, as in ApplyTerms, what Git asks for is there because another writer undid it.
    """
    is_of_git = RowCause.SECRET in row.causes or (RowCause.GIT in row.causes and not is_live)
    return bool(row.fields) and row.action in _RESTORING and not is_of_git


def find_row_brake(
    row: PlannedRow, brakes: Mapping[tuple[str, str], FieldBrake], *, is_live: bool
) -> FieldBrake | None:
    """What keeps a row from being done now: None where one of its fields may be restored.

    A field that waits for a person keeps all of its row. What is a lock, or a rule of the policy
    names, is always restored, and with it the rest of its row.
    """
    if not brakes or row.is_always_restored or not is_restoring(row, is_live=is_live):
        return None
    others = brakes.get(_OTHER_FIELDS)
    found = [brakes.get((row.address, field), others) for field in row.fields]
    may_be_held = [*found, brakes.get((row.address, MANY_FIELDS))]
    if MANY_FIELDS in row.fields:
        may_be_held += [one for one in brakes.values() if one.address == row.address]
    held = next((one for one in may_be_held if one is not None and one.until is None), None)
    if held is not None:
        return held
    return min(found, key=lambda one: (one and one.until) or 0.0)


def list_brakes(row: TargetRow, rule: TargetRule, brake: Brake, now: float) -> list[FieldBrake]:
    """The fields of a target that are not restored now."""
    return [
        FieldBrake(one.address, one.field, None if one.is_held else one.next_at, describe(one))
        for one in _brake(row.restored, rule, brake, now, _list_held(row))
        if one.is_held or one.next_at > now
    ]


def describe(restored: RestoredField) -> str:
    """A phrase: "description was restored 4 times since ...; the brake waits until ..."."""
    times = format_count_and_noun(restored.count, "time")
    name = restored.field if restored.field not in {"", MANY_FIELDS} else "it"
    text = f"{name} was restored {times} since {_say_time(restored.since)}"
    if restored.by:
        text += f", {restored.by} changes it, too"
    if restored.is_held:
        return f"{text}; `brake: hold` is set"
    if not restored.next_at:
        return text
    return f"{text}; the brake waits until {_say_time(restored.next_at)}"


def target_row_after_restoring(
    row: TargetRow,
    done: Iterable[PlannedRow],
    planned_rows: Sequence[PlannedRow] | None,
    rule: TargetRule,
    brake: Brake,
    *,
    is_live: bool,
    now: float,
) -> TargetRow:
    """A target after a run has done rows; what is too old to count is left out.

    What waits for a person stays as long as a plan has it, whatever else stops the row;
    `planned_rows` is None where there was no plan.
    """
    fields = {(one.address, one.field): one for one in row.restored}
    for planned in done:
        for field in planned.fields if is_restoring(planned, is_live=is_live) else ():
            key = planned.address, field
            if key not in fields and len(fields) - (_OTHER_FIELDS in fields) >= _MAX_FIELDS:
                key = _OTHER_FIELDS
            one = fields.get(key) or RestoredField(*key, ())
            fields[key] = replace(
                one,
                times=(*(time for time in one.times if time != now), now)[-_MAX_TIMES:],
                by=planned.changed_by or one.by,
                is_always=planned.is_always_restored and key != _OTHER_FIELDS,
            )
    still_held = _list_held(row)
    if planned_rows is not None:
        # Of a row that was refused before it was compared, nobody knows the fields.
        fields_of = {one.address: one.fields for one in planned_rows}
        others_wait = any(
            (one.address, field) not in fields
            for one in planned_rows
            if is_restoring(one, is_live=is_live)
            for field in one.fields
        )
        still_held = {
            (address, field)
            for address, field in still_held
            if ((address, field) == _OTHER_FIELDS and others_wait)
            or (
                address in fields_of
                and (not fields_of[address] or {field, MANY_FIELDS} & {*fields_of[address]})
            )
            or (address in fields_of and field == MANY_FIELDS)
        }
    braked = sorted(
        _brake(fields.values(), rule, brake, now, still_held),
        key=lambda one: (one.is_held, one.count, one.last_at),
        reverse=True,
    )
    return replace(row, restored=tuple(braked))


def are_told(row: TargetRow, restoring: Iterable[PlannedRow], brake: Brake) -> bool:
    """Whether people were told of each field that rows would restore."""
    often = {(one.address, one.field): one.count >= brake.after for one in row.restored}
    others = often.get(_OTHER_FIELDS, False)
    return all(often.get((one.address, f), others) for one in restoring for f in one.fields)


def list_told(before: TargetRow, after: TargetRow, brake: Brake) -> list[RestoredField]:
    """The fields of which people are told: they were restored so often for the first time."""
    known = {(one.address, one.field) for one in before.restored if one.count >= brake.after}
    often = (one for one in after.restored if one.count >= brake.after)
    return [one for one in often if (one.address, one.field) not in known]


def _list_held(row: TargetRow) -> set[tuple[str, str]]:
    return {(one.address, one.field) for one in row.restored if one.is_held}


def _brake(
    fields: Iterable[RestoredField],
    rule: TargetRule,
    brake: Brake,
    now: float,
    held: Collection[tuple[str, str]],
) -> Iterator[RestoredField]:
    """The fields with what holds for them now, without times that no longer count."""
    for one in fields:
        is_held = (one.address, one.field) in held
        times = tuple(time for time in one.times if is_held or time > now - brake.within)
        more, next_at = len(times) - brake.after, 0.0
        is_braked = (more >= 0 or is_held) and not one.is_always
        is_held = is_braked and any(
            (not one.address or hold.kind in {"", one.address.partition("/")[0]})
            and (
                hold.field in {"", one.field}
                or one.field == MANY_FIELDS
                or one.field.startswith(f"{hold.field}.")
            )
            for hold in rule.brake_holds
        )
        if is_braked and not is_held:
            share = min(_FIRST_SHARE * 2.0 ** max(more, 0), 1.0)
            wait = brake.at_most_every * share
            # A clock that was set back would make it wait for longer.
            next_at = times[-1] + wait if times[-1] <= now else now
        if times:
            yield replace(one, times=times, next_at=next_at, is_held=is_held)


def _say_time(when: float) -> str:
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M UTC}"
