"""Use case: wait until it is certain what became of calls whose end nobody saw.

Absence is believed once a call can no longer arrive. Until then only time helps, so nothing is
asked of the backend and no lock is held while time passes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from synapse_apply.applying.settle import Settled
from synapse_apply.model.address import Address
from synapse_apply.model.state import State
from synapse_apply.session.context import Context
from synapse_apply.session.intents import close, look_up, observing

# Lets so many seconds pass, and says for which calls.
Wait = Callable[[float, Sequence[Settled]], None]


def wait_for_open_calls(context: Context, wait: Wait) -> None:
    """Come back when no call that is open now is only too young to be settled; writes nothing."""
    waited_for = {intent.id for intent in context.store.read().open_intents}
    while waited_for:
        state = _only(context, waited_for)
        young = _too_young(look_up(context, state, observing(context, state)))
        if not young:
            return
        wait(_longest(young), young)


def settle_patiently(
    context: Context, first: Iterable[Settled], wait: Wait
) -> tuple[list[Settled], tuple[Address, ...]]:
    """Wait for what is too young among calls that were looked up, and settle it.

    Also the addresses of calls that another run settled meanwhile: they are in no list.
    """
    found = {item.intent.id: item for item in first}
    elsewhere: list[Address] = []
    while young := _too_young(found.values()):
        wait(_longest(young), young)
        waited_for = {item.intent.id for item in young}
        with context.lock("settle"):
            state = _only(context, waited_for)
            again = look_up(context, state, observing(context, state))
            close(context, again)
        found.update({item.intent.id: item for item in again})
        gone = waited_for - {item.intent.id for item in again}
        elsewhere.extend(found.pop(one).intent.address for one in gone)
    return list(found.values()), tuple(sorted(elsewhere))


def _only(context: Context, ids: Collection[str]) -> State:
    state = context.store.read()
    opened = tuple(intent for intent in state.open_intents if intent.id in ids)
    return replace(state, open_intents=opened)


def _too_young(settled: Iterable[Settled]) -> list[Settled]:
    return [item for item in settled if item.is_open and item.settles_in is not None]


def _longest(young: Iterable[Settled]) -> float:
    return max(item.settles_in or 0.0 for item in young)
