"""Whether `drift --write` can write the live values of some fields into the files."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.model.plan import FieldChange
from synapse_apply.planning.plan_input import CanWrite, ResourceState


def can_write_all(
    resource: ResourceState, changes: Sequence[FieldChange], can_write: CanWrite
) -> bool:
    """Whether all fields can be written: no secret, no reference, no value from elsewhere."""
    desired = resource.desired
    return desired is not None and all(
        not change.sensitive
        and change.path[0] in resource.type.rules
        and not resource.type.require_rule_of_field(change.path).references
        and can_write(desired, change.path)
        for change in changes
    )
