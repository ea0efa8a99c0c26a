"""Whether an object was sealed for good, so that its identity can never be used again."""

from __future__ import annotations

from synapse_apply.planning.plan_input import ResourceState


def is_or_was_sealed(resource: ResourceState) -> bool:
    """Whether the object is sealed now or was when last seen, as a seal cannot be taken back."""
    seal = resource.binding.final_call
    return seal is not None and (
        resource.live_fields.get((seal.name,)) is True or was_recorded_sealed(resource)
    )


def was_recorded_sealed(resource: ResourceState) -> bool:
    """Whether the object was sealed when the record was written."""
    seal, record = resource.binding.final_call, resource.record
    if seal is None or record is None:
        return False
    return record.seen.get((seal.name,)) is True
