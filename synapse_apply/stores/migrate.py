"""How a state is copied to another store, and when the copy counts as equal."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from synapse_apply.model.errors import StateError
from synapse_apply.model.state import State
from synapse_apply.stores import state_messages
from synapse_apply.stores.snapshot import StateSnapshot


class MovableStore(Protocol):
    """The methods of a store that a copy of its state needs."""

    @property
    def where(self) -> str: ...
    def exists(self) -> bool: ...
    def lock(self, operation: str, timeout: float = 0.0) -> AbstractContextManager[None]: ...
    def read_snapshot(self) -> StateSnapshot: ...
    def create_from_snapshot(self, state_snapshot: StateSnapshot) -> None: ...


def copy_and_verify_state_under_source_lock(
    source: MovableStore, target: MovableStore, timeout: float = 0.0
) -> State:
    """Copy all of a state except its lock, and compare the copy; returns the copied state.

    StateError if the target has a state already, or the copy differs. The source is locked
    meanwhile (LockHeld after `timeout` seconds) and not changed.
    """
    with source.lock("state migrate", timeout):
        if target.exists():
            raise state_messages.build_existing_state_error(target.where)
        state_snapshot = source.read_snapshot()
        target.create_from_snapshot(state_snapshot)
        if target.read_snapshot() != state_snapshot:
            raise StateError.from_summary(
                "The copy of the state is not the same",
                f"What {target.where} holds now is not what {source.where} holds.",
                f"{source.where} was left as it is; use it. Do not use {target.where}.",
            )
    return state_snapshot.state
