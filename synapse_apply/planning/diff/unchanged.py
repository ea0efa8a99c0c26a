"""When an object counts as unchanged by a cheap comparison, which is the usual case.

Anything that this cannot decide is left to the comparison field by field, with the same result.
"""

from __future__ import annotations

from typing import Any

from synapse_apply.kinds.compare import is_same_value
from synapse_apply.model.state import Record
from synapse_apply.model.values import ABSENT, Fields
from synapse_apply.planning.plan_input import ResourceState

_SCALARS = (str, int, float, bool)


# Equality first: it decides most fields of a large target, and only the rest goes through the
# comparison field by field. Such rows carry no fingerprint unless a run may be due.
def is_provably_unchanged(resource: ResourceState, record: Record) -> bool:
    """Whether declared equals applied and live equals seen, in every declared field.

    False where equality does not decide: secrets, maps, ignored, owned and accepted fields.
    """
    desired = resource.desired
    if (
        desired is None
        or record.accepted is not None
        or desired.lifecycle.ignore_changes
        or desired.lifecycle.own
    ):
        return False
    observed = resource.lookup_result.observed
    if record.unkept and not (observed and observed.missing_fields.issuperset(record.unkept)):
        return False
    declared_fields, live, last_seen = resource.declared_fields, resource.live_fields, record.seen
    if not declared_fields or not _have_same_plain_values(declared_fields, record.applied):
        return False
    if live == last_seen and _has_only_texts(live):
        return all(map(live.__contains__, declared_fields))
    return all(
        _is_same_scalar_or_list(live.get(path, ABSENT), last_seen.get(path, ABSENT))
        for path in declared_fields
    )


def _have_same_plain_values(first_fields: Fields, second_fields: Fields) -> bool:
    return first_fields == second_fields and (
        _has_only_texts(first_fields)
        or all(
            _is_same_scalar_or_list(value, second_fields[path])
            for path, value in first_fields.items()
        )
    )


def _has_only_texts(fields: Fields) -> bool:
    """Whether all values are str, for which Python's equality is enough (1 == True is not)."""
    return {*map(type, fields.values())} == {str}


def _is_same_scalar_or_list(first_value: Any, second_value: Any) -> bool:
    kind = type(first_value)
    if kind is not type(second_value) or first_value != second_value:
        return False
    # Equal lists may hold a true beside a 1, which are not the same.
    return kind in _SCALARS or (kind is list and is_same_value(first_value, second_value))
