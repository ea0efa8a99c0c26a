"""When two values of a field count as equal, and their canonical text for digests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from synapse_apply.kinds.descriptor import Compare
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.json_values import build_canonical_encoder
from synapse_apply.model.values import ABSENT, Fields, KnownAfterApply, Mac, WithheldSecret


def is_same_value(first: Any, second: Any, compare: Compare = Compare.EXACT) -> bool:
    """Whether two values are equal: 1 equals 1.0, true does not equal 1, null equals absent.

    Integers are compared exactly. With Compare.SET lists are equal if they have the same items in
    any order.
    """
    # Most values are texts, and a plan compares thousands of them.
    if type(first) is str and type(second) is str:
        return first == second
    if first is None or first is ABSENT or second is None or second is ABSENT:
        return (first is None or first is ABSENT) and (second is None or second is ABSENT)
    # In Python True == 1.
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return all(
            is_same_value(first.get(key, ABSENT), second.get(key, ABSENT), compare)
            for key in first.keys() | second.keys()
        )
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            return False
        if compare is Compare.SET:
            counts = (
                # Counted by their texts, since maps and lists are not hashable.
                Counter(format_comparable_json(item, compare) for item in items)
                for items in (first, second)
            )
            return next(counts) == next(counts)
        return all(is_same_value(a, b, compare) for a, b in zip(first, second, strict=True))
    return bool(first == second)


def is_server_form(sent: Any, live: Any, path: FieldPath) -> bool:
    """Whether a live value is what servers make of a text: they trim those of top-level fields."""
    return len(path) == 1 and type(sent) is str and sent.strip() == live


def is_made_of(sent: Any, live: Any, path: FieldPath, applied: Fields, seen: Fields) -> bool:
    """Whether a live value is what the server made of the same sent one before."""
    return is_same_value(applied.get(path, ABSENT), sent) and is_same_value(
        seen.get(path, ABSENT), live
    )


_COMPARABLE_ENCODER = build_canonical_encoder(ensure_ascii=False)


def format_comparable_json(value: Any, compare: Compare = Compare.EXACT) -> str:
    """A JSON text that is the same for values that are equal by `is_same_value`.

    A secret is represented by its digest.
    """
    return _COMPARABLE_ENCODER.encode(_comparable(value, compare))


def _comparable(value: Any, compare: Compare) -> Any:
    if value is ABSENT:
        return None
    if type(value) is str:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {
            str(key): _comparable(item, compare) for key, item in value.items() if item is not None
        }
    if isinstance(value, list | tuple):
        items = [_comparable(item, compare) for item in value]
        if compare is Compare.SET:
            items.sort(key=lambda item: json.dumps(item, sort_keys=True))
        return items
    if isinstance(value, Mac):
        return {"$mac": [value.key_id, value.digest]}
    if isinstance(value, WithheldSecret):
        return {"$withheld": value.form}
    if isinstance(value, KnownAfterApply):
        return {"$known_after_apply": str(value.address)}
    return value
