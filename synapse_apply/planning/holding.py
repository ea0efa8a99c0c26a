"""Drift that is kept (`on_drift: hold`): what the plan says of it, and the two ways out."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.model.address import Address
from synapse_apply.model.plan import FieldChange
from synapse_apply.planning.refusals import dotted, listing


def notes(address: Address, held: Sequence[FieldChange]) -> tuple[str, ...]:
    """One note for all fields of an object that are left as they are live."""
    if not held:
        return ()
    names = listing(dotted(change.path) for change in held)
    was, is_, it = ("was", "is", "it") if len(held) == 1 else ("were", "are", "them")
    accept = f"`synapse-apply drift --accept {address}` takes {it} into the manifest"
    if any(change.sensitive for change in held):
        accept = "a secret is taken over where its value is read from"
    revert = f"`synapse-apply apply --only {address} --revert-drift` undoes {it}"
    head = f"{names} {was} changed outside and {is_} kept (on_drift: hold):"
    return (f"{head}\n{accept},\n{revert}",)
