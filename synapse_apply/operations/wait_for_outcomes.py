"""How long to wait until the outcomes of calls with lost answers can be determined.

A call counts as lost once it can no longer arrive. Until then only time helps, so nothing is
asked of the backend and no lock is held while time passes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from synapse_apply.applying.settle import ResolvedIntent
from synapse_apply.live.open_intents import (
    build_live_reader_with_marks_of_state,
    close_intents_with_known_outcome,
    list_acting_calls,
    look_up_outcomes_of_open_intents,
)
from synapse_apply.model.address import Address
from synapse_apply.model.state import Intent, State
from synapse_apply.workspace.target_session import TargetSession

# Lets so many seconds pass, and says for which calls.
WaitCallback = Callable[[float, Sequence[Intent]], None]


def wait_until_open_calls_can_be_settled(session: TargetSession, wait: WaitCallback) -> None:
    """Return when no call is too recent any more to be settled, or given up; writes nothing."""
    state = session.store.read_state()
    wait_for_acting_calls(session, state, wait)
    pending_ids = {intent.id for intent in state.open_intents}
    while pending_ids:
        state = _read_state_narrowed_to_open_intents(session, pending_ids)
        young_intents = _list_calls_too_recent_to_settle(
            look_up_outcomes_of_open_intents(
                session, state, build_live_reader_with_marks_of_state(session, state)
            )
        )
        if not young_intents:
            return
        wait(
            _get_longest_wait_seconds(young_intents),
            [resolved.intent for resolved in young_intents],
        )


def wait_for_acting_calls(session: TargetSession, state: State, wait: WaitCallback) -> None:
    """Return when no given-up call may act any more that other values wait for."""
    if acting_calls := list_acting_calls(session, state):
        wait(max(seconds for seconds, _ in acting_calls), [call for _, call in acting_calls])


# Waiting holds no lock and asks nobody: the intents tell how long a call may still arrive; then one
# look settles all. Open creates of a kind share one list, read after the moment by which their age
# is judged.
def wait_and_settle_recent_calls(
    session: TargetSession, first_resolved: Iterable[ResolvedIntent], wait: WaitCallback
) -> tuple[list[ResolvedIntent], tuple[Address, ...]]:
    """Wait for those of the looked-up calls that are too recent, then settle them.

    Returns the calls, and the addresses of those that another run settled meanwhile.
    """
    resolved_by_id = {resolved.intent.id: resolved for resolved in first_resolved}
    other_addresses: list[Address] = []
    while young_intents := _list_calls_too_recent_to_settle(resolved_by_id.values()):
        wait(
            _get_longest_wait_seconds(young_intents),
            [resolved.intent for resolved in young_intents],
        )
        pending_ids = {resolved.intent.id for resolved in young_intents}
        # The lock is taken only after the wait, which may last minutes.
        with session.lock_state_of_own_project("settle"):
            state = _read_state_narrowed_to_open_intents(session, pending_ids)
            new_resolved = look_up_outcomes_of_open_intents(
                session, state, build_live_reader_with_marks_of_state(session, state)
            )
            close_intents_with_known_outcome(session, new_resolved)
        resolved_by_id.update({resolved.intent.id: resolved for resolved in new_resolved})
        missing_ids = pending_ids - {resolved.intent.id for resolved in new_resolved}
        other_addresses.extend(
            resolved_by_id.pop(intent_id).intent.address for intent_id in missing_ids
        )
    return list(resolved_by_id.values()), tuple(sorted(other_addresses))


def _read_state_narrowed_to_open_intents(session: TargetSession, ids: Collection[str]) -> State:
    state = session.store.read_state()
    open_intents = tuple(intent for intent in state.open_intents if intent.id in ids)
    return replace(state, open_intents=open_intents)


def _list_calls_too_recent_to_settle(
    resolved_intents: Iterable[ResolvedIntent],
) -> list[ResolvedIntent]:
    return [
        resolved
        for resolved in resolved_intents
        if resolved.is_open and resolved.seconds_until_resolvable is not None
    ]


def _get_longest_wait_seconds(young_intents: Iterable[ResolvedIntent]) -> float:
    return max(resolved.seconds_until_resolvable or 0.0 for resolved in young_intents)
