"""The short list from which a lost state is built again."""

from __future__ import annotations

from synapse_apply.model.state import State


def build_inventory(state: State) -> list[dict[str, str | None]]:
    """Per record, by address: address, id, api, version and digest (None where it has none).

    `api` is the API version whose id it is.
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
