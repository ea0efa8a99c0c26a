"""What a plan says of drift that is kept (`on_drift: hold`), and the two ways out."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.model.command import Command, Text
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.plan import FieldChange
from synapse_apply.planning.plan_input import CanWrite, ResourceState, can_always_write
from synapse_apply.planning.refusals import drift_write, is_fixed_field, is_sealing
from synapse_apply.planning.writable import can_write_all


def held_drift_note(
    resource: ResourceState,
    held_fields: Sequence[FieldChange],
    can_write: CanWrite = can_always_write,
) -> tuple[str, ...]:
    """One note for all fields of an object whose drift is kept; none without such fields."""
    if not held_fields:
        return ()
    names = format_short_list(format_field_path(change.path) for change in held_fields)
    past_verb, present_verb, pronoun = (
        ("was", "is", "it") if len(held_fields) == 1 else ("were", "are", "them")
    )
    address, has_fixed = (
        resource.address,
        any(is_fixed_field(resource, change.path) for change in held_fields),
    )
    accept = Text(drift_write(resource), f" takes {pronoun} into the manifest")
    # A secret is never written into a file.
    if any(change.sensitive for change in held_fields):
        accept = Text("a secret is taken over where its value is read from")
    elif not can_write_all(resource, held_fields, can_write):
        accept = Text(
            f"taking {pronoun} over is an edit by hand where the declared value comes from"
        )
    revert = Text(Command("apply --only", address, "--revert-drift"), f" undoes {pronoun}")
    # `--revert-drift` sends an update, which cannot contain such a field.
    if has_fixed:
        revert = Text(f"changing {pronoun} back in Synapse undoes {pronoun}: this API cannot")
    if any(is_sealing(resource, change.path) for change in held_fields):
        revert = Text("nothing takes it back")
    heading = f"{names} {past_verb} changed outside and {present_verb} kept (on_drift: hold):"
    if origins := [f"{format_field_path(f.path)} {f.origin}" for f in held_fields if f.origin]:
        heading = f"{names} {present_verb} kept (on_drift: hold); {'; '.join(origins)}:"
    return (Text(f"{heading}\n", accept, ",\n", revert),)
