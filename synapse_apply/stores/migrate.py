"""Moving a state from one store to another."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from synapse_apply.model.state import State
from synapse_apply.stores import faults
from synapse_apply.stores.contents import Contents


class Movable(Protocol):
    """What every store can do to move its state."""

    @property
    def where(self) -> str: ...
    def exists(self) -> bool: ...
    def lock(self, operation: str, timeout: float = 0.0) -> AbstractContextManager[None]: ...
    def contents(self) -> Contents: ...
    def fill(self, contents: Contents) -> None: ...


def migrate(source: Movable, target: Movable, timeout: float = 0.0) -> State:
    """Copy everything but the lock and compare the copy; gives the state that was moved.

    StateError when there is a state at the target already, or the copy differs. The source is
    held meanwhile (LockHeld after `timeout` seconds) and stays as it is: whoever calls this says
    where the state is from now on.
    """
    with source.lock("state migrate", timeout):
        if target.exists():
            raise faults.exists(target.where)
        contents = source.contents()
        target.fill(contents)
        if target.contents() != contents:
            raise faults.not_the_same(source.where, target.where)
    return contents.state
