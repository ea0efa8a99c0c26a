"""Which address a remote id belongs to, so that no object is recorded under two."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from threading import Lock

from synapse_apply.model.address import Address
from synapse_apply.model.errors import StateError
from synapse_apply.model.observed import ObjectKey, Observed
from synapse_apply.model.ports import StateStore
from synapse_apply.model.state import Record


def build_owner_index_by_kind_api_and_id(
    records: Mapping[Address, Record],
) -> dict[ObjectKey, Address]:
    """The address of each recorded object, by kind, API version and id."""
    return {
        ObjectKey(address.kind, record.api, record.remote_id): address
        for address, record in records.items()
    }


# A wrong answer could give one object to two addresses; an id that another address has is never
# recorded.
class ClaimedIds:
    """The ids of recorded objects and of objects that this run's calls returned; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._recorded: dict[ObjectKey, Address] | None = None
        self._claimed: dict[ObjectKey, Address] = {}

    def claim_object_or_find_other_owner(
        self, store: StateStore, observed: Observed, address: Address
    ) -> Address | None:
        """Claim an object for an address; returns another address that has it already, else None.

        Never raises: the call was done by then, and an unreadable state must not make it look
        otherwise. Recording the call then meets the same error, and writes the outcome to a
        recovery file.
        """
        object_key = ObjectKey(address.kind, observed.api, observed.remote_id)
        # One lock for look-up and claim, so that two threads cannot claim the same object.
        with self._lock:
            owner = self._find_recorded_owner_or_none_if_unreadable(store, object_key)
            if owner is None:
                # Claims of this run are kept here: the records of concurrent calls may not be
                # written yet.
                owner = self._claimed.setdefault(object_key, address)
            return None if owner == address else owner

    def _find_recorded_owner_or_none_if_unreadable(
        self, store: StateStore, object_key: ObjectKey
    ) -> Address | None:
        with suppress(StateError):
            if self._recorded is None:
                self._recorded = build_owner_index_by_kind_api_and_id(store.read_state().records)
            owner = self._recorded.get(object_key)
            # The index may be stale: the record may be gone, and the server may have given its id
            # again.
            record = store.find_record(owner) if owner is not None else None
            if record is not None and (record.api, record.remote_id) == object_key[1:]:
                return owner
        return None
