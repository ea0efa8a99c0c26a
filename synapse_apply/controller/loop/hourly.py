"""What is done once an hour: old rows go, the end of the audit is logged, people are reminded."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from synapse_apply.controller.loop.due_times import targets_in_states
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.rollouts.messages import queue_rollout_reminders
from synapse_apply.controller.page.addresses import (
    build_overview_path,
    build_run_path,
    build_target_path,
)
from synapse_apply.controller.rows import PauseRow, TargetCondition, TargetName, TargetRow
from synapse_apply.controller.rules.approving import APPROVAL_SECONDS
from synapse_apply.controller.rules.pausing import CONFIGURATION, is_pause_active
from synapse_apply.controller.rules.sending import reminder_number
from synapse_apply.controller.settings import HOUR, Event, Mode
from synapse_apply.controller.store_ports import StoreWriter

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
        for row in self._parts.store.list_audit_newest_first_unless_after(1):
            self._parts.log("info", "audit", row=row.number, digest=row.digest)
        self._reminded = queue_reminders(self._parts, self._reminded)


def delete_old_rows(parts: LoopParts) -> None:
    """Delete runs, messages, revisions, approvals and pauses that are older than `keep`.

    An approval that may still count is kept, however short that is.
    """
    now = parts.clock.read_wall()
    oldest = now - parts.settings.defaults.keep
    with parts.write() as writer:
        count = writer.delete_old_runs_except_newest_of_each_target(oldest)
        writer.delete_old_ended_messages_revisions_and_statuses(oldest)
        writer.delete_approvals_given_and_pauses_ended_before(min(oldest, now - APPROVAL_SECONDS))
    if count:
        parts.log("info", "old runs deleted", runs=count)


def queue_reminders(
    parts: LoopParts, reminded: Collection[tuple[TargetName, float, int]] = ()
) -> set[tuple[TargetName, float, int]]:
    """Tell once more, a day after the last time, what waits for people and what is paused.

    Rollouts that wait or take long are among it.

    Leaves out the targets that were `reminded`: each with when its state began and the number of
    the reminder. Returns those that are by now.
    """
    now = parts.clock.read_wall()
    due = {
        (row.name, row.changed_at, number): row
        for row in targets_in_states(parts, _REMINDED)
        if (number := reminder_number(row.changed_at, now))
    }
    with parts.write() as writer:
        for (name, began_at, number), row in due.items():
            if (name, began_at, number) not in reminded:
                _queue_reminder(parts, writer, row, number)
        for pause in parts.store.list_people_pauses_even_ended():
            if is_pause_active(pause, now):
                queue_pause_messages(parts, writer, pause)
        for source, pause in _configured_pauses(parts):
            if is_pause_active(pause, now):
                # Its targets may not be known yet.
                _queue_pause_message(parts, writer, pause, source, None)
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
        page=build_target_path(target) if target else build_overview_path({"source": source}),
    )


def _sources_in_scope(parts: LoopParts, scope: str) -> Iterator[tuple[str, TargetName | None]]:
    """Each source that has a target in a scope, with the target if the scope is that alone."""
    for source in parts.settings.sources:
        names = [
            row.name
            for row in parts.store.list_present_and_gone_targets_of_source(source)
            if not row.is_gone
        ]
        matching = [name for name in names if fnmatchcase(str(name), scope)]
        if matching:
            yield source, next((name for name in matching if str(name) == scope), None)


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
    run = next(iter(parts.store.list_newest_runs_without_documents(row.name, 1)), None)
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
