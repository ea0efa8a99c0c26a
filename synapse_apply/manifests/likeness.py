"""Which items of a list became which: equal ones first, then those that are most alike."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Pairs = list[tuple[int, int]]

# Items times items that are compared with one another; longer stretches pair by their order.
_FEW = 2500
# Any item may have become any other, if nothing speaks for another pair.
_ANY = 0.01


def told(value: Any, *, in_list: bool = False) -> str:
    """JSON text that is equal for values that are the same where they stand.

    The order of keys counts for nothing, 1 is 1.0, and inside of lists, which a plan compares as
    one value each, null is absent.
    """
    return json.dumps(_plain(value, in_list=in_list), sort_keys=True)


def _plain(value: Any, *, in_list: bool) -> Any:
    if isinstance(value, Mapping):
        pairs = ((key, _plain(below, in_list=in_list)) for key, below in value.items())
        return {key: below for key, below in pairs if below is not None or not in_list}
    if isinstance(value, list | tuple):
        return [_plain(below, in_list=True) for below in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def paired(old: Sequence[Any], new: Sequence[Any]) -> Pairs:
    """Places of items of two lists that belong together, in the order of both.

    An old item without a pair is gone, a new one without is added.
    """
    before, after = [[told(one, in_list=True) for one in items] for items in (old, new)]
    found: Pairs = []
    done = (0, 0)
    for i, j in [*_equal(before, after), (len(old), len(new))]:
        a, b = done
        for n, m in _alike(old[a:i], new[b:j], before[a:i], after[b:j]):
            found.append((a + n, b + m))
        found.append((i, j))
        done = (i + 1, j + 1)
    return found[:-1]


def _equal(before: Sequence[str], after: Sequence[str]) -> Pairs:
    """Equal items: all at both ends, and in between many that are in the order of both."""
    most = min(len(before), len(after))
    head = next((n for n in range(most) if before[n] != after[n]), most)
    tail = next((n for n in range(most - head) if before[-1 - n] != after[-1 - n]), most - head)
    inside = _between(before[head : len(before) - tail], after[head : len(after) - tail])
    ends = [(len(before) - n, len(after) - n) for n in range(tail, 0, -1)]
    return [*((n, n) for n in range(head)), *((head + n, head + m) for n, m in inside), *ends]


def _between(before: Sequence[str], after: Sequence[str]) -> Pairs:
    """Equal items of long lists, in the order of both, at no more cost than sorting.

    Those that stayed in their places, or where that keeps more, the longest run of those that are
    the n-th of their value on both sides.
    """
    if len(before) * len(after) <= _FEW:
        return []
    places = {one: n for n, one in enumerate(_numbered(before))}
    moved = _rising([(places[one], n) for n, one in enumerate(_numbered(after)) if one in places])
    both = zip(before, after, strict=False)
    stayed = [(n, n) for n, (one, other) in enumerate(both) if one == other]
    return stayed if len(before) == len(after) and len(stayed) >= len(moved) else moved


def _numbered(items: Sequence[str]) -> Iterator[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for one in items:
        counts[one] += 1
        yield one, counts[one]


def _rising(pairs: Pairs) -> Pairs:
    """The longest part of pairs, which are in order of the second, that is so of the first too."""
    ends: list[int] = []
    at: list[int] = []
    before: list[int] = []
    for n, (first, _) in enumerate(pairs):
        length = bisect_left(ends, first)
        before.append(at[length - 1] if length else -1)
        ends[length : length + 1] = [first]
        at[length : length + 1] = [n]
    found: Pairs = []
    n = at[-1] if at else -1
    while n >= 0:
        found.append(pairs[n])
        n = before[n]
    return found[::-1]


def _alike(
    old: Sequence[Any], new: Sequence[Any], before: Sequence[str], after: Sequence[str]
) -> Pairs:
    """Pairs, in the order of both, that have most in common."""
    if len(old) * len(new) > _FEW or len(old) == len(new) == 1:
        return [(n, n) for n in range(min(len(old), len(new)))]
    shared = _Shared(old, new)
    width = len(new) + 1
    best = [[0.0] * width for _ in range(len(old) + 1)]
    pair = [[0.0] * width for _ in old]
    for i in range(len(old) - 1, -1, -1):
        for j in range(len(new) - 1, -1, -1):
            like = 10.0 if before[i] == after[j] else shared.by(i, j)
            pair[i][j] = _ANY + like + best[i + 1][j + 1]
            best[i][j] = max(pair[i][j], best[i + 1][j], best[i][j + 1])
    found: Pairs = []
    i = j = 0
    while i < len(old) and j < len(new):
        if pair[i][j] >= best[i][j]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return found


class _Shared:
    """How much two items have in common; what many have counts for less."""

    def __init__(self, old: Sequence[Any], new: Sequence[Any]) -> None:
        self._items = old, new
        self._parts = [[set(_parts(one)) for one in side] for side in (old, new)]
        self._counts = [Counter(part for one in side for part in one) for side in self._parts]

    def by(self, i: int, j: int) -> float:
        """What speaks for an old item having become a new one."""
        one, other = self._items[0][i], self._items[1][j]
        if isinstance(one, str) and isinstance(other, str):
            most = max(len(one), len(other), 1)
            return min(_begin(one, other) + _begin(one[::-1], other[::-1]), most) / most
        if _kind(one) is not _kind(other):
            return 0.0
        before, after = self._counts
        keys = len(set(one) & set(other)) / (len(one) + 1) if isinstance(one, Mapping) else 0
        both = self._parts[0][i] & self._parts[1][j]
        return 0.1 * keys + sum(1 / (before[part] * after[part]) for part in both)


def _begin(one: str, other: str) -> int:
    """How many characters two texts begin with are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _parts(item: Any) -> list[tuple[str, str]]:
    if isinstance(item, Mapping):
        return [(str(key), told(below, in_list=True)) for key, below in item.items()]
    return [("", told(below, in_list=True)) for below in item] if _kind(item) is list else []


def _kind(value: Any) -> type:
    if isinstance(value, Mapping):
        return dict
    return list if isinstance(value, list | tuple) else str
