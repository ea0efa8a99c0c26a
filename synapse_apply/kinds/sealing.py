"""Fields that a call of its own sets for good, when all else of an object is done."""

from __future__ import annotations

from synapse_apply.kinds.descriptor import Seal
from synapse_apply.model.plan import FieldChange


def seals(seal: Seal, change: FieldChange) -> bool:
    """Whether this difference is for the seal to make."""
    return change.path == (seal.name,) and change.after is True
