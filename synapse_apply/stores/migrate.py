"""Moving a state from one store to another."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from synapse_apply.model.state import State
from synapse_apply.stores import state_messages
from synapse_apply.stores.snapshot import StateSnapshot


class MovableStore(Protocol):
    """What every store can do to move its state."""

    @property
    def where(self) -> str: ...
    def exists(self) -> bool: ...
    def lock(self, operation: str, timeout: float = 0.0) -> AbstractContextManager[None]: ...
    def read_snapshot(self) -> StateSnapshot: ...
    def create_from_snapshot(self, state_snapshot: StateSnapshot) -> None: ...


def copy_and_verify_state(
    source: MovableStore, target: MovableStore, timeout: float = 0.0
) -> State:
    """Copy everything but the lock and compare the copy; gives the state that was moved.

    StateError when there is a state at the target already, or the copy differs. The source is
    held meanwhile (LockHeld after `timeout` seconds) and stays as it is: whoever calls this says
    where the state is from now on.
    """
    with source.lock("state migrate", timeout):
        if target.exists():
            raise state_messages.build_existing_state_error(target.where)
        state_snapshot = source.read_snapshot()
        target.create_from_snapshot(state_snapshot)
        if target.read_snapshot() != state_snapshot:
            raise state_messages.build_differing_copy_error(source.where, target.where)
    return state_snapshot.state
