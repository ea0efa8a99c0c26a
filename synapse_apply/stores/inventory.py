"""What an inventory has of each record: enough to import all objects again after a lost state."""

from __future__ import annotations

from synapse_apply.model.state import State


def build_inventory_sorted_by_address(state: State) -> list[dict[str, str | None]]:
    """An object with `address`, `id`, `api`, `version` and `digest` for each record, by address.

    `version` and `digest` may be None; `api` is the API version that the id belongs to.
    """
    return [
        {
            "address": str(address),
            "id": record.remote_id,
            "api": record.api,
            "version": record.version or None,
            "digest": record.digest,
        }
        for address, record in sorted(state.records.items())
    ]
