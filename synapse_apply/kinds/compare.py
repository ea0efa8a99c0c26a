"""When two values of a field are the same, and the canonical text both comparisons rest on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from synapse_apply.kinds.descriptor import Compare
from synapse_apply.model.values import ABSENT, KnownAfterApply, Mac, Withheld


def same(left: Any, right: Any, compare: Compare = Compare.EXACT) -> bool:
    """Whether two values are equal: 1 is 1.0, true is not 1, null is absent, integers are exact.

    With Compare.SET lists are equal when they hold the same items, in any order.
    """
    if type(left) is str and type(right) is str:
        return left == right
    if left is None or left is ABSENT or right is None or right is ABSENT:
        return (left is None or left is ABSENT) and (right is None or right is ABSENT)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return _same_maps(left, right, compare)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return _same_lists(left, right, compare)
    return bool(left == right)


def _same_maps(left: Mapping[str, Any], right: Mapping[str, Any], compare: Compare) -> bool:
    return all(
        same(left.get(key, ABSENT), right.get(key, ABSENT), compare)
        for key in left.keys() | right.keys()
    )


def _same_lists(
    left: list[Any] | tuple[Any, ...], right: list[Any] | tuple[Any, ...], compare: Compare
) -> bool:
    if len(left) != len(right):
        return False
    if compare is Compare.SET:
        counts = (Counter(canonical(item, compare) for item in items) for items in (left, right))
        return next(counts) == next(counts)
    return all(same(a, b, compare) for a, b in zip(left, right, strict=True))


def canonical(value: Any, compare: Compare = Compare.EXACT) -> str:
    """JSON text that is equal for values that are `same`; secrets appear as their digests."""
    plain = _plain(value, compare)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any, compare: Compare) -> Any:
    if value is ABSENT:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, compare) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        items = [_plain(item, compare) for item in value]
        if compare is Compare.SET:
            items.sort(key=lambda item: json.dumps(item, sort_keys=True))
        return items
    return _marker(value)


def _marker(value: Any) -> Any:
    if isinstance(value, Mac):
        return {"$mac": [value.key_id, value.digest]}
    if isinstance(value, Withheld):
        return {"$withheld": value.how}
    if isinstance(value, KnownAfterApply):
        return {"$known_after_apply": str(value.address)}
    return value
