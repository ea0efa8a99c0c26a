"""Calls whose end no run has recorded yet."""

from __future__ import annotations

from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.state import Intent
from synapse_apply.stores.sql import utc_now


def announce_create(store: Any, address: str = "storage/raw-data", **more: Any) -> None:
    """The storage is about to be made, as a run with the lock writes it down."""
    at = Address.parse(address)
    call = Intent("i", "p", at, "create", "v1", f"name={at.name}", **{"sent_at": utc_now(), **more})
    store.open_intent_and_use_up_its_approvals(call)
