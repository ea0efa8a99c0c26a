"""Which messages are due: only on change and on recovery, one a fact."""

from __future__ import annotations

from collections.abc import Iterable

from synapse_apply.controller.rows import RevisionRow, SourceRow, TargetCondition, TargetRow
from synapse_apply.controller.settings import Channel, Event

# A fetch that fails once is tried again before anybody is told.
FETCH_FAILURES_BEFORE_MESSAGE = 3

_EVENTS_BY_STATE = {
    TargetCondition.FAILING: Event.FAILED,
    TargetCondition.REFUSED: Event.HELD,
    TargetCondition.DRIFTED: Event.DRIFT,
}


def find_target_event(before: TargetRow, after: TargetRow) -> Event | None:
    """What people are told of a target after a look; None while nothing changed for them."""
    if after.state is before.state:
        return None
    if after.state in _EVENTS_BY_STATE:
        return _EVENTS_BY_STATE[after.state]
    return Event.RECOVERED if before.state is TargetCondition.FAILING else None


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
