"""How the UUID of a job is made of its number, and parsed again."""

from __future__ import annotations

import uuid

from synapse_apply.emulator.core.store import StoredObject

_HALF = 2**64
_VARIANT = 2**63  # the variant bit of a UUID (RFC 9562, 4.1), in its lower half


def build_job_uuid(data_set: str, row: StoredObject) -> str:
    """The UUID of a job: the upper half is the data set's, the lower has the job's number."""
    upper = uuid.UUID(data_set).int // _HALF
    return str(uuid.UUID(int=upper * _HALF + _VARIANT + row.id))


def parse_job_uuid_or_none(data_set: str, text: str) -> int | None:
    """The number of the job with this UUID; None for one that no job of this data set can have."""
    try:
        # The upper half identifies the data set: ids of another one are unknown here.
        upper, lower = divmod(uuid.UUID(text).int, _HALF)
    except ValueError:
        return None
    is_same_data_set = upper == uuid.UUID(data_set).int // _HALF
    return lower - _VARIANT if is_same_data_set and lower > _VARIANT else None


def is_uuid(text: str) -> bool:
    try:
        return bool(uuid.UUID(text))
    except ValueError:
        return False
