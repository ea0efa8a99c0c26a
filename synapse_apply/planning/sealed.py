"""Whether an object was sealed for good: nothing with its identity is ever made again."""

from __future__ import annotations

from synapse_apply.planning.situation import Item


def is_sealed(item: Item) -> bool:
    """Whether it is sealed now, or was when it was last seen: no server takes a seal back."""
    seal = item.binding.seal
    return seal is not None and (item.live.get((seal.name,)) is True or was_sealed(item))


def was_sealed(item: Item) -> bool:
    """Whether the record saw it sealed."""
    seal, record = item.binding.seal, item.record
    if seal is None or record is None:
        return False
    return record.seen.get((seal.name,)) is True
