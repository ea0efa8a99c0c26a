"""The usual case of a large target: nothing moved on any side, which is cheap to tell.

What this is not sure of is left to the comparison field by field, which would say the same.
"""

from __future__ import annotations

from typing import Any

from synapse_apply.kinds.compare import same
from synapse_apply.model.state import Record
from synapse_apply.model.values import ABSENT, Fields
from synapse_apply.planning.situation import Item

_SCALARS = (str, int, float, bool)


def is_quiet(item: Item, record: Record) -> bool:
    """Whether declared equals applied and live equals seen, in every declared field.

    False wherever more than equality decides: secrets, maps, what is ignored, owned or accepted.
    """
    desired = item.desired
    if (
        desired is None
        or record.accepted is not None
        or desired.lifecycle.ignore_changes
        or desired.lifecycle.own
    ):
        return False
    observed = item.sighting.observed
    if record.unkept and not (observed and observed.lacks.issuperset(record.unkept)):
        return False
    want, live, seen = item.want, item.live, record.seen
    if not want or not _equal(want, record.applied):
        return False
    if live == seen and _has_only_texts(live):
        return all(map(live.__contains__, want))
    return all(_alike(live.get(path, ABSENT), seen.get(path, ABSENT)) for path in want)


def _equal(left: Fields, right: Fields) -> bool:
    return left == right and (
        _has_only_texts(left) or all(_alike(value, right[path]) for path, value in left.items())
    )


def _has_only_texts(fields: Fields) -> bool:
    """Equal texts are the same, which of other values equality does not tell."""
    return {*map(type, fields.values())} == {str}


def _alike(left: Any, right: Any) -> bool:
    kind = type(left)
    if kind is not type(right) or left != right:
        return False
    # Equal lists may hold a true beside a 1, which are not the same.
    return kind in _SCALARS or (kind is list and same(left, right))
