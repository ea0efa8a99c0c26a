"""Which items of an old list became which of a new one: equal ones first, then the most similar."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

IndexPairs = list[tuple[int, int]]

# Limit of pairs that are compared, as it is quadratic; longer stretches pair by their order.
_MAX_COMPARED = 2500
# Above 0, so that two items without anything in common still pair where no better pair exists.
_BASE_SCORE = 0.01


def format_normalized_json(value: Any, *, in_list: bool = False) -> str:
    """JSON text that is equal for values that a plan treats as the same.

    The order of keys does not count, 1 is 1.0, and inside of lists, which a plan compares as
    one value each, null is absent.
    """
    return json.dumps(_to_comparable(value, in_list=in_list), sort_keys=True)


def _to_comparable(value: Any, *, in_list: bool) -> Any:
    """A value with 1 for 1.0 and, inside of lists, without the keys that have null."""
    if isinstance(value, Mapping):
        pairs = ((key, _to_comparable(child, in_list=in_list)) for key, child in value.items())
        return {key: child for key, child in pairs if child is not None or not in_list}
    if isinstance(value, list | tuple):
        return [_to_comparable(child, in_list=True) for child in value]
    # JSON does not distinguish 1 and 1.0.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def pair_list_items(old_items: Sequence[Any], new_items: Sequence[Any]) -> IndexPairs:
    """Index pairs of items that belong together, rising in both lists.

    An old item without a pair was removed, a new one without was added.
    """
    old_texts, new_texts = [
        [format_normalized_json(item, in_list=True) for item in items]
        for items in (old_items, new_items)
    ]
    pairs: IndexPairs = []
    next_start = (0, 0)
    for i, j in [*_pair_equal_ends(old_texts, new_texts), (len(old_items), len(new_items))]:
        a, b = next_start
        for n, m in _align_items(old_items[a:i], new_items[b:j], old_texts[a:i], new_texts[b:j]):
            pairs.append((a + n, b + m))
        pairs.append((i, j))
        next_start = (i + 1, j + 1)
    return pairs[:-1]


def _pair_equal_ends(old_texts: Sequence[str], new_texts: Sequence[str]) -> IndexPairs:
    """Index pairs of equal items: all at both ends, and between those only of long lists."""
    max_length = min(len(old_texts), len(new_texts))
    # Usually one item changes, and the equal ends need no comparison in pairs.
    head = next((n for n in range(max_length) if old_texts[n] != new_texts[n]), max_length)
    tail = next(
        (n for n in range(max_length - head) if old_texts[-1 - n] != new_texts[-1 - n]),
        max_length - head,
    )
    middle_pairs = _pair_long_lists(
        old_texts[head : len(old_texts) - tail], new_texts[head : len(new_texts) - tail]
    )
    ends = [(len(old_texts) - n, len(new_texts) - n) for n in range(tail, 0, -1)]
    return [*((n, n) for n in range(head)), *((head + n, head + m) for n, m in middle_pairs), *ends]


def _pair_long_lists(old_texts: Sequence[str], new_texts: Sequence[str]) -> IndexPairs:
    """Index pairs of equal items of long lists, rising in both, in O(n log n).

    Those that kept their index, or if it gives more, the longest rising sequence of those that are
    the n-th of their value on both sides. Short lists give none: they are compared in full.
    """
    if len(old_texts) * len(new_texts) <= _MAX_COMPARED:
        return []
    index_by_item = {item: n for n, item in enumerate(_iter_numbered_items(old_texts))}
    moved = _longest_rising_pairs(
        [
            (index_by_item[item], n)
            for n, item in enumerate(_iter_numbered_items(new_texts))
            if item in index_by_item
        ]
    )
    aligned_items = zip(old_texts, new_texts, strict=False)
    stayed = [(n, n) for n, (item, other_item) in enumerate(aligned_items) if item == other_item]
    return stayed if len(old_texts) == len(new_texts) and len(stayed) >= len(moved) else moved


def _iter_numbered_items(items: Sequence[str]) -> Iterator[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for item in items:
        counts[item] += 1
        yield item, counts[item]


def _longest_rising_pairs(pairs: IndexPairs) -> IndexPairs:
    """The longest subsequence of pairs, sorted by the second index, that rises in the first, too.

    Patience sorting, O(n log n).
    """
    ends: list[int] = []
    end_indexes: list[int] = []
    predecessors: list[int] = []
    for n, (first_index, _) in enumerate(pairs):
        length = bisect_left(ends, first_index)
        predecessors.append(end_indexes[length - 1] if length else -1)
        ends[length : length + 1] = [first_index]
        end_indexes[length : length + 1] = [n]
    rising: IndexPairs = []
    n = end_indexes[-1] if end_indexes else -1
    while n >= 0:
        rising.append(pairs[n])
        n = predecessors[n]
    return rising[::-1]


def _align_items(
    old_items: Sequence[Any],
    new_items: Sequence[Any],
    old_texts: Sequence[str],
    new_texts: Sequence[str],
) -> IndexPairs:
    """Index pairs, rising in both lists, with the highest total similarity.

    Items with equal texts weigh most; items without likeness pair where nothing better does.
    A table of best scores, filled from the ends (as for an edit distance); pairs by order above
    `_MAX_COMPARED`.
    """
    # One item in the place of one item is the same item with another value.
    if len(old_items) * len(new_items) > _MAX_COMPARED or len(old_items) == len(new_items) == 1:
        return [(n, n) for n in range(min(len(old_items), len(new_items)))]
    shared_content = _SharedContent(old_items, new_items)
    width = len(new_items) + 1
    best_scores = [[0.0] * width for _ in range(len(old_items) + 1)]
    pair_scores = [[0.0] * width for _ in old_items]
    for i in range(len(old_items) - 1, -1, -1):
        for j in range(len(new_items) - 1, -1, -1):
            # Equal items weigh far more than any similarity, so that they are hardly ever
            # separated.
            similarity = (
                10.0 if old_texts[i] == new_texts[j] else shared_content.score_similarity(i, j)
            )
            pair_scores[i][j] = _BASE_SCORE + similarity + best_scores[i + 1][j + 1]
            best_scores[i][j] = max(pair_scores[i][j], best_scores[i + 1][j], best_scores[i][j + 1])
    matches: IndexPairs = []
    i = j = 0
    while i < len(old_items) and j < len(new_items):
        if pair_scores[i][j] >= best_scores[i][j]:
            matches.append((i, j))
            i, j = i + 1, j + 1
        elif best_scores[i + 1][j] >= best_scores[i][j + 1]:
            i += 1
        else:
            j += 1
    return matches


class _SharedContent:
    """Scores how much an old and a new item have in common.

    Parts that many items have count less.
    """

    def __init__(self, old_items: Sequence[Any], new_items: Sequence[Any]) -> None:
        self._items = old_items, new_items
        self._parts = [
            [set(_list_comparable_parts(item)) for item in side] for side in (old_items, new_items)
        ]
        self._counts = [Counter(part for item in side for part in item) for side in self._parts]

    def score_similarity(self, i: int, j: int) -> float:
        """A similarity from 0: of texts by prefix and suffix, of maps by common pairs and keys."""
        old_item, new_item = self._items[0][i], self._items[1][j]
        if isinstance(old_item, str) and isinstance(new_item, str):
            max_length = max(len(old_item), len(new_item), 1)
            return (
                min(
                    _count_common_prefix(old_item, new_item)
                    + _count_common_prefix(old_item[::-1], new_item[::-1]),
                    max_length,
                )
                / max_length
            )
        if _collection_type(old_item) is not _collection_type(new_item):
            return 0.0
        old_counts, new_counts = self._counts
        keys = (
            len(set(old_item) & set(new_item)) / (len(old_item) + 1)
            if isinstance(old_item, Mapping)
            else 0
        )
        shared_parts = self._parts[0][i] & self._parts[1][j]
        # A part that is in one item on each side, such as a name, shows best that both are the
        # same.
        return 0.1 * keys + sum(1 / (old_counts[part] * new_counts[part]) for part in shared_parts)


def _count_common_prefix(first_text: str, second_text: str) -> int:
    """The length of the common prefix of two texts."""
    pairs = enumerate(zip(first_text, second_text, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first_text), len(second_text)))


def _list_comparable_parts(item: Any) -> list[tuple[str, str]]:
    if isinstance(item, Mapping):
        return [
            (str(key), format_normalized_json(child, in_list=True)) for key, child in item.items()
        ]
    return (
        [("", format_normalized_json(child, in_list=True)) for child in item]
        if _collection_type(item) is list
        else []
    )


def _collection_type(value: Any) -> type:
    if isinstance(value, Mapping):
        return dict
    return list if isinstance(value, list | tuple) else str
