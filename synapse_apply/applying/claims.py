"""Which address each remote id belongs to: one object is never recorded under two."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from threading import Lock

from synapse_apply.model.address import Address
from synapse_apply.model.errors import StateError
from synapse_apply.model.observed import Observed
from synapse_apply.model.ports import StateStore
from synapse_apply.model.state import Record

# Kind, API version and id: ids of two versions are not one space.
_Id = tuple[str, str, str]


def owners_of(records: Mapping[Address, Record]) -> dict[_Id, Address]:
    """The address of each recorded object, by kind, API version and id."""
    return {(at.kind, one.api, one.remote_id): at for at, one in records.items()}


class Claims:
    """The ids that are recorded, and those that calls of this run were answered; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._recorded: dict[_Id, Address] | None = None
        self._claimed: dict[_Id, Address] = {}

    def claim(self, store: StateStore, observed: Observed, address: Address) -> Address | None:
        """Take an object for an address; the address that has it already, None if it is free.

        Never raises: a call was done by then, and a state that cannot be read must not make that
        look otherwise. Who records it meets the state's trouble, and keeps the call aside.
        """
        at = (address.kind, observed.api, observed.remote_id)
        with self._lock:
            owner = self._recorded_owner(store, at)
            if owner is None:
                owner = self._claimed.setdefault(at, address)
            return None if owner == address else owner

    def _recorded_owner(self, store: StateStore, at: _Id) -> Address | None:
        with suppress(StateError):
            if self._recorded is None:
                self._recorded = owners_of(store.read().records)
            owner = self._recorded.get(at)
            # Its record may have gone since, with an id that the server gives again.
            record = store.record(owner) if owner is not None else None
            if record is not None and (record.api, record.remote_id) == at[1:]:
                return owner
        return None
