"""How long to wait until the outcomes of calls with lost answers can be determined.

A call counts as lost once it can no longer arrive. Until then its effect may show at any time: the
backend is asked now and then, with pauses that double, and no lock is held while time passes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from synapse_apply.applying.settle import ResolvedIntent
from synapse_apply.live.open_intents import (
    build_live_reader_with_marks_of_state,
    close_intents_with_known_outcome,
    list_acting_calls,
    look_up_outcomes_of_open_intents,
)
from synapse_apply.model.address import Address
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.state import Intent, IntentState, State
from synapse_apply.workspace.target_session import TargetSession

# Lets the first number of seconds pass, says for which calls, and after how many none can act.
WaitCallback = Callable[[float, Sequence[Intent], float], None]

_FIRST_PAUSE = 2.0
_UNKNOWN = IntentState.UNKNOWN


def wait_until_open_calls_can_be_settled(session: TargetSession, wait: WaitCallback) -> None:
    """Return when no call is too recent any more to be settled, or given up; writes nothing."""
    state = session.store.read_state()
    wait_for_acting_calls(session, state, wait)
    if state.open_intents:
        looked_up = _look_up(session, {intent.id for intent in state.open_intents})
        _wait_for_outcomes(session, _list_calls_too_recent_to_settle(looked_up), wait)


def wait_for_acting_calls(session: TargetSession, state: State, wait: WaitCallback) -> None:
    """Return when no given-up call may act any more that other values wait for."""
    acting = [one for one in list_acting_calls(session, state) if one[1].state is _UNKNOWN]
    if acting:
        longest = max(seconds for seconds, _ in acting)
        wait(longest, [call for _, call in acting], longest)


def wait_and_settle_recent_calls(
    session: TargetSession, first_resolved: Iterable[ResolvedIntent], wait: WaitCallback
) -> tuple[list[ResolvedIntent], tuple[Address, ...]]:
    """Wait for those of the looked-up calls that are too recent, then settle them.

    Returns the calls, and the addresses of those that another run settled meanwhile.
    """
    resolved_by_id = {resolved.intent.id: resolved for resolved in first_resolved}
    other_addresses: list[Address] = []
    while calls := _list_calls_too_recent_to_settle(resolved_by_id.values()):
        _wait_for_outcomes(session, calls, wait)
        ids = {call.id for call in calls}
        # The lock is taken only after the wait, which may last minutes.
        with session.lock_state_of_own_project("settle"):
            new_resolved = _look_up(session, ids)
            close_intents_with_known_outcome(session, new_resolved)
        resolved_by_id.update({resolved.intent.id: resolved for resolved in new_resolved})
        gone_ids = ids - {resolved.intent.id for resolved in new_resolved}
        other_addresses += [resolved_by_id.pop(gone_id).intent.address for gone_id in gone_ids]
    return list(resolved_by_id.values()), tuple(sorted(other_addresses))


def _wait_for_outcomes(session: TargetSession, calls: Sequence[Intent], wait: WaitCallback) -> None:
    """Return when a look has told of each call what became of it, or it cannot act any more."""
    settle_after, pause = session.target.settle_after, _FIRST_PAUSE
    while calls:
        now, uptime = session.clock.utc_now(), session.uptime()
        longest = max(call.seconds_left(settle_after, now, uptime) for call in calls)
        if longest <= 0:
            return
        wait(min(pause, longest), calls, longest)
        if pause < longest:
            with suppress(RemoteError):  # a backend that is away for a while proves nothing
                open_ids = {
                    one.intent.id
                    for one in _look_up(session, {call.id for call in calls})
                    if one.is_open
                }
                calls = [call for call in calls if call.id in open_ids]
        pause *= 2


# Open creates of a kind share one list, read after the moment by which their age is judged.
def _look_up(session: TargetSession, ids: Collection[str]) -> list[ResolvedIntent]:
    """What the backend shows of those of the calls that are still open."""
    state = session.store.read_state()
    open_intents = tuple(intent for intent in state.open_intents if intent.id in ids)
    state = replace(state, open_intents=open_intents)
    live_reader = build_live_reader_with_marks_of_state(session, state)
    return look_up_outcomes_of_open_intents(session, state, live_reader)


def _list_calls_too_recent_to_settle(resolved_intents: Iterable[ResolvedIntent]) -> list[Intent]:
    return [
        resolved.intent
        for resolved in resolved_intents
        if resolved.is_open and resolved.seconds_until_resolvable is not None
    ]
