"""How due times stay true: after jumps of the clock, other settings, and a start."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from synapse_apply.controller.loop.deciding import find_target_rule
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.rows import RunCause, TargetCondition, TargetRow
from synapse_apply.controller.rules.due import (
    compute_longest_delay,
    get_interval_or_default,
    is_clock_jump,
    spread_delay,
)
from synapse_apply.controller.rules.pausing import find_apply_block
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import HOUR, Controller
from synapse_apply.controller.store_ports import StoreWriter, TargetFilter

# For so long after a jump of the clock there are tasks that have read it before.
_UNSETTLED_SECONDS = 60.0
# Where there is nothing that another rule would decide otherwise, or a look is due anyway.
_UNDECIDED = frozenset({TargetCondition.IN_SYNC, TargetCondition.NOT_LOOKED_AT})
_ALL_TARGETS = 10**9


class DueTimes:
    """Moves due times as the wall clock jumps; for the thread of the loop."""

    def __init__(self, parts: LoopParts) -> None:
        self._parts = parts
        self._jumped_at: float | None = None

    def correct_due_times(self) -> None:
        """Move due times by as much as the wall clock jumped since the last call."""
        parts, clock = self._parts, self._parts.clock
        counter, error = clock.read_counter(), clock.measure_ahead()
        if is_clock_jump(error):
            with parts.write() as writer:
                writer.shift_due_times_claims_and_leases(error)
                # Within the transaction: no other one may be between the two.
                clock.move_wall_time_by(error)
            parts.log("warn", "clock jumped", seconds=error)
            self._jumped_at = counter
            # Windows and pauses are of the wall clock: what waits for them is not moved with it.
            waiting = {TargetCondition.PAUSED, TargetCondition.WAITING}
            make_targets_due_soon(
                parts, targets_in_states(parts, waiting), RunCause.RESUMED, "a jump of the clock"
            )
        else:
            clock.move_wall_time_by(error)
        # A task may have read the clock before its transaction, and written after the shift.
        if self._jumped_at is not None and counter - self._jumped_at < _UNSETTLED_SECONDS:
            pull_in_due_times(parts)


def targets_in_states(parts: LoopParts, states: Collection[TargetCondition]) -> list[TargetRow]:
    """The targets in one of these states, by state and name."""
    return [
        row
        for state in TargetCondition
        if state in states
        for row in parts.store.read_page_of_present_targets(
            TargetFilter(state=state), 0, _ALL_TARGETS
        ).targets
    ]


def pull_in_due_times(parts: LoopParts) -> None:
    """Have nothing due later than it could have been put off from now on."""
    now, defaults = parts.clock.read_wall(), parts.settings.defaults
    sources = parts.settings.sources
    rules = [rule for source in sources.values() for rule in source.rules]
    intervals = {get_interval_or_default(rule, defaults) for rule in rules} or {defaults.interval}
    with parts.write() as writer:
        shortest = compute_longest_delay(min(intervals), defaults)
        for row in writer.list_present_targets_due_after(now + shortest):
            rule = find_target_rule(parts, row.name)
            if rule is None:
                continue
            longest = compute_longest_delay(get_interval_or_default(rule, defaults), defaults)
            if row.due_at > now + longest:
                delay = spread_delay(longest, int(longest), parts.clock.draw_fraction())
                writer.put_target_keeping_claim_and_newer_revision(replace(row, due_at=now + delay))
        for polled in parts.store.list_configured_sources():
            source = sources.get(polled.name)
            if source and polled.due_at > now + compute_longest_delay(source.poll, defaults):
                writer.put_source_except_head_and_counters(replace(polled, due_at=now))
        # No receiver can ask for a longer wait (`delivery.py`).
        writer.hasten_sends(now, max(HOUR, defaults.retry_most))


def hasten_failing(parts: LoopParts, longest: float) -> None:
    """Have each failing target due within `longest` seconds: what was wrong may be mended."""
    now = parts.clock.read_wall()
    with parts.write() as writer:
        failing = [row for row in writer.list_present_targets_due_after(now) if row.failures]
        _put_due_within(parts, writer, failing, longest)


def hasten_redecided(parts: LoopParts, before: Controller | None = None) -> None:
    """Have targets due soon of which the settings in use may decide otherwise than their last run.

    `before` are the settings until now, None at a start: then a mode that is not that of the last
    run counts, and a pause that is over.
    """
    now, pauses = parts.clock.read_wall(), parts.store.list_people_pauses_even_ended()
    woken: list[TargetRow] = []
    for row in targets_in_states(parts, frozenset(TargetCondition) - _UNDECIDED):
        rule = find_target_rule(parts, row.name)
        if rule is None:
            continue
        is_other = rule.mode is not row.mode
        if before is not None and not is_other:
            source = before.sources.get(row.name.source)
            is_other = rule != (find_rule(source, row.name.target) if source else None)
        if row.state is TargetCondition.PAUSED and not is_other:
            is_other = find_apply_block(rule, pauses, row.name, now) is None
        if is_other:
            woken.append(row)
    detail = "a start of the controller" if before is None else "a new controller.yaml"
    make_targets_due_soon(parts, woken, RunCause.RESUMED, detail)


def make_targets_due_soon(
    parts: LoopParts, rows: Collection[TargetRow], cause: RunCause, detail: str = ""
) -> None:
    """Have targets due in a moment, many of them spread over the first retry's delay."""
    with parts.write() as writer:
        fresh = [parts.store.find_target_even_if_gone(row.name) or row for row in rows]
        moved = [replace(row, due_cause=cause, due_detail=detail) for row in fresh]
        _put_due_within(parts, writer, moved, parts.settings.defaults.retry_first)


def _put_due_within(
    parts: LoopParts, writer: StoreWriter, rows: Iterable[TargetRow], longest: float
) -> None:
    """Write targets that are due within `longest` seconds, or when they are if that is sooner."""
    now, rows = parts.clock.read_wall(), list(rows)
    for row in rows:
        delay = spread_delay(longest, len(rows), parts.clock.draw_fraction())
        writer.put_target_keeping_claim_and_newer_revision(
            replace(row, due_at=min(row.due_at, now + delay))
        )
