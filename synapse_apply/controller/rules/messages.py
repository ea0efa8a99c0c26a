"""Which messages are due: only on change and on recovery, one a fact."""

from __future__ import annotations

from collections.abc import Iterable

from synapse_apply.controller.rows import RevisionRow, SourceRow, TargetCondition, TargetRow
from synapse_apply.controller.settings import Channel, Event

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
# What drifted and is put right is no news.
_RECOVERABLE_STATES = _EVENTS_BY_STATE.keys() - {TargetCondition.DRIFTED}


def find_target_event(before: TargetRow, after: TargetRow) -> Event | None:
    """What people are told of a target after a run; None while nothing changed for them.

    A pause is told where it is set, not at each target.
    """
    if before.failures < FAILURES_BEFORE_PERSON <= after.failures:
        return Event.FAILED
    if after.state is before.state:
        return None
    if after.state in _EVENTS_BY_STATE:
        return _EVENTS_BY_STATE[after.state]
    return Event.RECOVERED if before.state in _RECOVERABLE_STATES else None


def find_fetch_event(before: SourceRow, after: SourceRow) -> Event | None:
    """What people are told of a source after a fetch."""
    limit = FETCH_FAILURES_BEFORE_MESSAGE
    if before.failures < limit <= after.failures:
        return Event.FAILED
    return Event.RECOVERED if before.failures >= limit and not after.failures else None


def find_head_event_compared_with_head_before(
    before: RevisionRow | None, after: RevisionRow
) -> Event | None:
    """What people are told when the targets of a head are known, or the head cannot be used."""
    if after.finding is not None:
        return Event.FAILED
    return Event.RECOVERED if before is not None and before.finding is not None else None


def select_channels(channels: Iterable[Channel], event: Event) -> list[Channel]:
    """The channels that are told of an event."""
    return [channel for channel in channels if event in channel.events]
