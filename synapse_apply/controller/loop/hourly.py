"""How due times stay true, and what is done once an hour: old rows go, people are reminded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from synapse_apply.controller.loop.deciding import find_target_rule
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.rollbacks import queue_rollback_message
from synapse_apply.controller.loop.rollouts import queue_rollout_reminders
from synapse_apply.controller.page.addresses import build_run_path, build_target_path, with_query
from synapse_apply.controller.ports import TargetFilter
from synapse_apply.controller.rows import PauseRow, RunCause, TargetCondition, TargetName, TargetRow
from synapse_apply.controller.rules.access import APPROVAL_SECONDS
from synapse_apply.controller.rules.due import (
    compute_longest_delay,
    get_interval_or_default,
    is_clock_jump,
    reminder_number,
    spread_delay,
)
from synapse_apply.controller.rules.permits import CONFIGURATION, find_apply_block, is_pause_active
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import HOUR, Controller, Event, Mode
from synapse_apply.controller.store.store_writer import StoreWriter
from synapse_apply.model.frozen import replace

_REMINDED = frozenset({TargetCondition.UNKNOWN, TargetCondition.REFUSED, TargetCondition.HELD})


class HourlyWork:
    """Does its work in the first round and then once an hour; for the thread of the loop."""

    def __init__(self, parts: LoopParts) -> None:
        self._parts = parts
        self._done_at: float | None = None
        # So that most hours ask nothing more of the store, however much waits.
        self._reminded: set[tuple[TargetName, float, int]] = set()

    def do_if_an_hour_has_passed(self) -> None:
        """Do it if an hour has passed since it was done."""
        counter = self._parts.clock.read_counter()
        if self._done_at is not None and counter - self._done_at < HOUR:
            return
        self._done_at = counter
        delete_old_rows(self._parts)
        for row in self._parts.store.audit_rows(1):
            self._parts.log("info", "audit", row=row.number, digest=row.digest)
        self._reminded = queue_reminders(self._parts, self._reminded)


def delete_old_rows(parts: LoopParts) -> None:
    """Delete runs, messages, revisions, approvals and pauses that are older than `keep`.

    An approval that may still count is kept, however short that is; none is of the future.
    """
    now = parts.clock.read_wall()
    oldest = now - parts.settings.defaults.keep
    with parts.write() as writer:
        count = writer.delete_old_runs(oldest)
        writer.delete_old_messages(oldest)
        writer.date_back_approvals(now)
        writer.delete_old_approvals(min(oldest, now - APPROVAL_SECONDS))
    if count:
        parts.log("info", "old runs deleted", runs=count)


def queue_reminders(
    parts: LoopParts, reminded: Collection[tuple[TargetName, float, int]] = ()
) -> set[tuple[TargetName, float, int]]:
    """Tell once more, a day after the last time, what waits for people and what is paused.

    Rollouts that wait or take long, and what is rolled back, are among it.

    Leaves out the targets that were `reminded`: each with when its state began and the number of
    the reminder. Returns those that are by now.
    """
    now = parts.clock.read_wall()
    with parts.write() as writer:
        due = {
            (row.name, row.changed_at, number): row
            for row in targets_in_states(parts, _REMINDED)
            if (number := reminder_number(row.changed_at, now))
        }
        for (name, began_at, number), row in due.items():
            if (name, began_at, number) not in reminded:
                _queue_reminder(parts, writer, row, number)
        for pause in parts.store.list_pauses():
            if is_pause_active(pause, now):
                queue_pause_messages(parts, writer, pause)
        for source, pause in _configured_pauses(parts):
            if is_pause_active(pause, now):
                # Its targets may not be known yet.
                _queue_pause_message(parts, writer, pause, source, None)
        for target in parts.store.list_rolled_back_targets():
            if target.name.source in parts.settings.sources:
                queue_rollback_message(parts, writer, target)
        queue_rollout_reminders(parts, writer)
    return set(due)


def queue_pause_messages(parts: LoopParts, writer: StoreWriter, pause: PauseRow) -> None:
    """Tell of a pause, each source that it concerns; or remind of it, once a day."""
    for source, target in _sources_in_scope(parts, pause.scope):
        _queue_pause_message(parts, writer, pause, source, target)


def _queue_pause_message(
    parts: LoopParts, writer: StoreWriter, pause: PauseRow, source: str, target: TargetName | None
) -> None:
    number = reminder_number(pause.since, parts.clock.read_wall())
    parts.queue_messages(
        writer,
        Event.PAUSED,
        f"pause of {pause.scope} since {pause.since} in {source}, day {number}",
        source=source,
        target=target,
        pause=pause,
        is_reminder=number > 0,
        page=build_target_path(target) if target else with_query("/", {"source": source}),
    )


def _sources_in_scope(parts: LoopParts, scope: str) -> Iterator[tuple[str, TargetName | None]]:
    """Each source that has a target in a scope, with the target if the scope is that alone."""
    matching = [row.name for row in list_targets_in_scope(parts, scope)]
    for source in parts.settings.sources:
        names = [name for name in matching if name.source == source]
        if names:
            yield source, next((name for name in names if str(name) == scope), None)


def _configured_pauses(parts: LoopParts) -> Iterator[tuple[str, PauseRow]]:
    """The pauses of controller.yaml with their sources; when they began is not known."""
    for source in parts.settings.sources.values():
        for rule in source.rules:
            if rule.pause is not None and rule.mode is not Mode.OBSERVE:
                until = rule.pause.until if rule.pause.until is not None else float("inf")
                scope = f"{source.name}/{rule.pattern}"
                yield source.name, PauseRow(scope, CONFIGURATION, rule.pause.reason, 0.0, until)


def _queue_reminder(parts: LoopParts, writer: StoreWriter, row: TargetRow, number: int) -> None:
    holds = parts.store.list_holds(row.name) if row.state is TargetCondition.HELD else ()
    if holds and all(hold.rejected_by for hold in holds):
        return  # somebody has decided
    run = next(iter(parts.store.newest_runs(row.name, 1)), None)
    findings = run.findings if run else ()
    parts.queue_messages(
        writer,
        Event.HELD,
        f"{row.name} {row.state.value} since {row.changed_at}, day {number}",
        source=row.name.source,
        target=row.name,
        commit=run.commit if run else "",
        finding=next((finding for finding in findings if finding.is_error), None),
        counts=row.counts,
        holds=holds,
        is_reminder=True,
        page=build_target_path(row.name) if holds else build_run_path(row.last_run),
    )


# For so long after a jump of the clock there are tasks that have read it before.
_UNSETTLED_SECONDS = 60.0
# Where there is nothing that another rule would decide otherwise, or a look is due anyway.
_UNDECIDED = frozenset({TargetCondition.IN_SYNC, TargetCondition.NOT_LOOKED_AT})


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
                writer.shift_times(error)
                writer.shift_leases(error)
                # Within the transaction: no other one may be between the two.
                clock.move_wall_time_by(error)
                writer.date_back_approvals(clock.read_wall())
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


def list_targets_in_scope(parts: LoopParts, scope: str) -> Sequence[TargetRow]:
    """The targets that match a pattern of SOURCE/TARGET; for a name no other is read.

    Whoever pauses a label sets a pause for each of its targets.
    """
    if set(scope).isdisjoint("*?["):
        source, _, target = scope.partition("/")
        row = parts.store.find_target(TargetName(source, target))
        return [row] if row is not None and not row.is_gone else []
    return parts.store.list_targets(TargetFilter(patterns=(scope,)))


def targets_in_states(parts: LoopParts, states: Collection[TargetCondition]) -> list[TargetRow]:
    """The targets in one of these states, by state and name."""
    return [
        row
        for state in TargetCondition
        if state in states
        for row in parts.store.list_targets(TargetFilter(state=state))
    ]


def pull_in_due_times(parts: LoopParts) -> None:
    """Have nothing due later than it could have been put off from now on."""
    now, defaults = parts.clock.read_wall(), parts.settings.defaults
    sources = parts.settings.sources
    rules = [rule for source in sources.values() for rule in source.rules]
    intervals = {get_interval_or_default(rule, defaults) for rule in rules} or {defaults.interval}
    with parts.write() as writer:
        shortest = compute_longest_delay(min(intervals), defaults, has_failed=False)
        for row in writer.list_due_after(now + shortest):
            rule = find_target_rule(parts, row.name)
            if rule is None:
                continue
            interval = get_interval_or_default(rule, defaults)
            longest = compute_longest_delay(interval, defaults, has_failed=row.failures > 0)
            if row.due_at > now + longest:
                delay = spread_delay(longest, int(longest), parts.clock.draw_fraction())
                writer.put(replace(row, due_at=now + delay))
        for polled in parts.store.list_configured_sources():
            source = sources.get(polled.name)
            if source and polled.due_at > now + compute_longest_delay(source.poll, defaults):
                writer.put(replace(polled, due_at=now))
        # No receiver can ask for a longer wait (`delivery.py`).
        writer.hasten_sends(now, max(HOUR, defaults.retry_most))


def hasten_failing(parts: LoopParts, longest: float) -> None:
    """Have each failing target due within `longest` seconds: what was wrong may be mended."""
    now = parts.clock.read_wall()
    with parts.write() as writer:
        failing = [row for row in writer.list_due_after(now) if row.failures]
        _put_due_within(parts, writer, failing, longest)


def hasten_redecided(parts: LoopParts, before: Controller | None = None) -> None:
    """Have targets due soon of which the settings in use may decide otherwise than their last run.

    `before` are the settings until now, None at a start: then a mode that is not that of the last
    run counts, and a pause that is over.
    """
    now, pauses = parts.clock.read_wall(), parts.store.list_pauses()
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
        fresh = [parts.store.find_target(row.name) or row for row in rows]
        moved = [replace(row, due_cause=cause, due_detail=detail) for row in fresh]
        _put_due_within(parts, writer, moved, parts.settings.defaults.retry_first)


def _put_due_within(
    parts: LoopParts, writer: StoreWriter, rows: Iterable[TargetRow], longest: float
) -> None:
    """Write targets that are due within `longest` seconds, or when they are if that is sooner."""
    now, rows = parts.clock.read_wall(), list(rows)
    for row in rows:
        delay = spread_delay(longest, len(rows), parts.clock.draw_fraction())
        writer.put(replace(row, due_at=min(row.due_at, now + delay)))
