"""Fields that a call of its own sets for good, when all else of an object is done."""

from __future__ import annotations

from synapse_apply.kinds.descriptor import FinalCall
from synapse_apply.model.plan import FieldChange


def is_final_call_change(final_call: FinalCall, change: FieldChange) -> bool:
    """Whether this difference is for the seal to make."""
    return change.path == (final_call.name,) and change.after is True
