"""Drift that is kept (`on_drift: hold`): what the plan says of it, and the two ways out."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.model.plan import FieldChange
from synapse_apply.planning.refusals import dotted, is_fixed, is_sealed_field, listing, take_over
from synapse_apply.planning.situation import CanWrite, Item, writes_all
from synapse_apply.planning.writable import is_writable


def notes(
    item: Item, held: Sequence[FieldChange], can_write: CanWrite = writes_all
) -> tuple[str, ...]:
    """One note for all fields of an object that are left as they are live."""
    if not held:
        return ()
    names = listing(dotted(change.path) for change in held)
    was, is_, it = ("was", "is", "it") if len(held) == 1 else ("were", "are", "them")
    address, fixed = item.address, any(is_fixed(item, change.path) for change in held)
    accept = f"{take_over(item)} takes {it} into the manifest"
    if any(change.sensitive for change in held):
        accept = "a secret is taken over where its value is read from"
    elif not is_writable(item, held, can_write):
        accept = f"taking {it} over is an edit by hand where the declared value comes from"
    revert = f"`synapse-apply apply --only {address} --revert-drift` undoes {it}"
    if fixed:
        revert = f"changing {it} back in the product undoes {it}: this API cannot"
    if any(is_sealed_field(item, change.path) for change in held):
        revert = "nothing takes it back"
    head = f"{names} {was} changed outside and {is_} kept (on_drift: hold):"
    return (f"{head}\n{accept},\n{revert}",)
