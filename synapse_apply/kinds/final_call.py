"""Which change of a field is made by the final call of an object (descriptor.FinalCall)."""

from __future__ import annotations

from synapse_apply.kinds.descriptor import FinalCall
from synapse_apply.model.plan import FieldChange


def is_final_call_change(final_call: FinalCall, change: FieldChange) -> bool:
    """Whether a change is that of the final call's field to true."""
    return change.path == (final_call.name,) and change.after is True
