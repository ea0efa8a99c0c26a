"""What a dry run does not look at, as the switch `v2_dry_run` says."""

from __future__ import annotations

from synapse_apply.emulator.core.call import Call
from synapse_apply.emulator.core.store import Kind


def look_away(call: Call, kind: Kind, key: str) -> None:
    """In a blind dry run, put what has a key out of the way; it comes back with the rest."""
    if not call.is_rehearsal or not call.backend.switches.is_on("v2_dry_run", "blind"):
        return
    row = call.backend.store.find(kind, key)
    if row is not None:
        call.backend.store.delete(kind, row.id)
