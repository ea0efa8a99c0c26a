"""Whether an object was sealed for good: nothing with its identity is ever made again."""

from __future__ import annotations

from synapse_apply.planning.plan_input import ResourceState


def is_sealed(resource: ResourceState) -> bool:
    """Whether it is sealed now, or was when it was last seen: no server takes a seal back."""
    seal = resource.binding.final_call
    return seal is not None and (
        resource.live_fields.get((seal.name,)) is True or was_recorded_sealed(resource)
    )


def was_recorded_sealed(resource: ResourceState) -> bool:
    """Whether the record saw it sealed."""
    seal, record = resource.binding.final_call, resource.record
    if seal is None or record is None:
        return False
    return record.seen.get((seal.name,)) is True
