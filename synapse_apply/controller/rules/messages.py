"""Which messages are due: only on change and on recovery, one a fact; and one a day to remind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from synapse_apply.controller.rows import RevisionRow, SourceRow, TargetCondition, TargetRow
from synapse_apply.controller.settings import DAY, Channel, Event

# A fetch that fails once is tried again before anybody is told.
FETCH_FAILURES_BEFORE_MESSAGE = 3

_EVENTS_BY_STATE = {
    TargetCondition.FAILING: Event.FAILED,
    TargetCondition.UNKNOWN: Event.FAILED,
    TargetCondition.REFUSED: Event.HELD,
    TargetCondition.HELD: Event.HELD,
    TargetCondition.PAUSED: Event.PAUSED,
    TargetCondition.DRIFTED: Event.DRIFT,
}
# What ends by itself or by the next apply is no news when it is over.
_STATES_WITHOUT_RECOVERY = {TargetCondition.DRIFTED}
_REMINDED_EVENTS = {Event.HELD, Event.PAUSED}


def find_target_event(
    before: TargetRow, after: TargetRow, *, has_new_holds: bool = False
) -> Event | None:
    """What people are told of a target after a run; None while nothing changed for them.

    `has_new_holds` says that rows wait for a person that did not before, which is told also where
    others did.
    """
    if after.state is before.state:
        is_told = has_new_holds and after.state is TargetCondition.HELD
        return Event.HELD if is_told else None
    event = _EVENTS_BY_STATE.get(after.state)
    if event is not None:
        return event
    needed_person = before.state in _EVENTS_BY_STATE.keys() - _STATES_WITHOUT_RECOVERY
    return Event.RECOVERED if needed_person else None


class Reminder(NamedTuple):
    """What people are reminded of: an event, and a fact that is new once a day."""

    event: Event
    fact: str


def find_reminder(row: TargetRow, now: float) -> Reminder | None:
    """What people are reminded of: a target that has waited for one for another day; else None."""
    event = _EVENTS_BY_STATE.get(row.state)
    days = int((now - row.changed_at) // DAY)
    if event is None or event not in _REMINDED_EVENTS or days < 1 or row.is_gone:
        return None
    return Reminder(event, f"{row.name} {row.state.value} since {row.changed_at:.0f}, day {days}")


def find_fetch_event(before: SourceRow, after: SourceRow) -> Event | None:
    """What people are told of a source after a fetch."""
    limit = FETCH_FAILURES_BEFORE_MESSAGE
    if before.failures < limit <= after.failures:
        return Event.FAILED
    return Event.RECOVERED if before.failures >= limit and not after.failures else None


def find_head_event(before: RevisionRow | None, after: RevisionRow) -> Event | None:
    """What people are told when the targets of a head are known, or the head cannot be used."""
    if after.finding is not None:
        return Event.FAILED
    return Event.RECOVERED if before is not None and before.finding is not None else None


def select_channels(channels: Iterable[Channel], event: Event) -> list[Channel]:
    """The channels that are told of an event."""
    return [channel for channel in channels if event in channel.events]
