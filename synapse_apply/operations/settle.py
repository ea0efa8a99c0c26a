"""How `state settle` looks up open calls of earlier runs and records their outcomes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from synapse_apply.applying.settle import ResolvedIntent
from synapse_apply.live.open_intents import (
    build_live_reader,
    build_no_open_call_error,
    close_resolved_intents,
    resolve_open_intents,
)
from synapse_apply.model.address import Address
from synapse_apply.model.state import State
from synapse_apply.workspace.selection import build_state_selectable, choose_addresses
from synapse_apply.workspace.target_session import TargetSession


def look_up_and_settle_open_calls(
    session: TargetSession, addresses: Collection[Address] = ()
) -> list[ResolvedIntent]:
    """Look up the open calls (of these addresses, all by default) and record known outcomes."""
    with session.lock_state("settle"):
        state = _with_selected_intents(session.store.read_state(), addresses)
        resolved_intents = resolve_open_intents(session, state, build_live_reader(session, state))
        close_resolved_intents(session, resolved_intents)
    return resolved_intents


def choose_addresses_with_open_call(state: State, names: Sequence[str]) -> list[Address]:
    """The addresses with an open call that names match; an error where a name has none open."""
    open_addresses = {intent.address for intent in state.open_intents}
    return choose_addresses(
        build_state_selectable(state), names, open_addresses.__contains__, "has a call open"
    )


def _with_selected_intents(state: State, addresses: Collection[Address]) -> State:
    open_addresses = {intent.address for intent in state.open_intents}
    for address in addresses:
        if address not in open_addresses:
            raise build_no_open_call_error(address, state)
    if not addresses:
        return state
    selected_intents = tuple(intent for intent in state.open_intents if intent.address in addresses)
    return replace(state, open_intents=selected_intents)
