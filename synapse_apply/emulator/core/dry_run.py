"""Which conflicts a dry run does not notice, as the switch `v2_dry_run` says."""

from __future__ import annotations

from synapse_apply.emulator.core.call import EmulatorRequest
from synapse_apply.emulator.core.store import Kind


def hide_existing_object(request: EmulatorRequest, kind: Kind, key: str) -> None:
    """In a blind dry run, delete the object with a key; the rollback at the end restores it."""
    if not request.is_dry_run or not request.backend.switches.has_value("v2_dry_run", "blind"):
        return
    row = request.backend.store.find_by_key_of_any_tenant(kind, key)
    if row is not None:
        request.backend.store.delete(kind, row.id)
