"""Use case: settle what earlier runs left open, and do nothing else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from synapse_apply.applying.settle import Settled
from synapse_apply.model.address import Address
from synapse_apply.model.state import State
from synapse_apply.session.context import Context
from synapse_apply.session.intents import close, look_up, no_open_call, observing
from synapse_apply.session.select import choose_each, in_state


def settle(context: Context, addresses: Collection[Address] = ()) -> list[Settled]:
    """Look the open calls up (of these addresses, by default of all) and record what is known.

    Under the state's lock, which is taken here. StateError for an address without an open call.
    """
    with context.lock("settle"):
        state = _limited(context.store.read(), addresses)
        settled = look_up(context, state, observing(context, state))
        close(context, settled)
    return settled


def chosen_open(state: State, names: Sequence[str]) -> list[Address]:
    """What these names mean among what has a call open; what has none is named as a whole."""
    opened = {intent.address for intent in state.open_intents}
    return choose_each(in_state(state), names, opened.__contains__, "has a call open")


def _limited(state: State, addresses: Collection[Address]) -> State:
    opened = {intent.address for intent in state.open_intents}
    for address in addresses:
        if address not in opened:
            raise no_open_call(address, state)
    if not addresses:
        return state
    chosen = tuple(intent for intent in state.open_intents if intent.address in addresses)
    return replace(state, open_intents=chosen)
