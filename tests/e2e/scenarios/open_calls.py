"""Calls whose end no run has recorded yet."""

from __future__ import annotations

from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.state import Intent
from synapse_apply.stores.sql import utc_now


def announce_create(store: Any, **more: float) -> None:
    """The storage is about to be made, as a run with the lock writes it down."""
    address = Address.parse("storage/raw-data")
    call = Intent("i", "p", address, "create", "v1", "name=Raw data", sent_at=utc_now(), **more)
    store.open_intent_and_use_up_its_approvals(call)
