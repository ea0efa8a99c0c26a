"""Which messages are due: only on change and on recovery, one a fact."""

from __future__ import annotations

from synapse_apply.controller.rows import RevisionRow, SourceRow, TargetCondition, TargetRow
from synapse_apply.controller.settings import Event

# A fetch that fails once is tried again before anybody is told.
FETCH_FAILURES_BEFORE_MESSAGE = 3

# So many in a row need a person: people are told once more.
FAILURES_BEFORE_PERSON = 5

_EVENTS_BY_STATE = {
    TargetCondition.FAILING: Event.FAILED,
    TargetCondition.UNKNOWN: Event.FAILED,
    TargetCondition.REFUSED: Event.HELD,
    TargetCondition.HELD: Event.HELD,
    TargetCondition.DRIFTED: Event.DRIFT,
}


def list_target_events(before: TargetRow, after: TargetRow) -> list[Event]:
    """What people are told of a target after a run; nothing while nothing changed for them.

    That it recovered is told once of each failure, whatever it waits for then, and of nothing else.
    A pause is told where it is set, not at each target; what failed is closed when it is removed.
    """
    if after.is_gone:
        return []
    events = []
    if is_told_as_failed(before) and not is_told_as_failed(after):
        events.append(Event.RECOVERED)
    if before.failures < FAILURES_BEFORE_PERSON <= after.failures:
        events.append(Event.FAILED)
    elif after.state is not before.state and after.state in _EVENTS_BY_STATE:
        events.append(_EVENTS_BY_STATE[after.state])
    return events


def is_told_as_failed(row: TargetRow) -> bool:
    """Whether people were told that a target failed, and not yet that this is over."""
    is_failed = _EVENTS_BY_STATE.get(row.state) is Event.FAILED
    return is_failed or row.failures >= FAILURES_BEFORE_PERSON


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
