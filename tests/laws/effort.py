"""How many examples a law gets: few in `make test`, many in `make test-deep`."""

from __future__ import annotations

import itertools

from deep import DEEP, SHARE
from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


def effort(few: int, many: int, steps: int = 50) -> settings:
    """`few` examples, the same each time, or `many` new ones when deep; a share has a tenth of them."""
    return settings(
        max_examples=max(few, many // 10 if SHARE else many) if DEEP else few,
        derandomize=not DEEP,
        deadline=None,
        stateful_step_count=steps,
        database=None,
        print_blob=True,
        suppress_health_check=_SLOW,
    )


def spread(combinations: list[dict[str, str]]) -> list[dict[str, str]]:
    """Some combinations in which any two values of two switches meet, or all of them when deep."""
    if DEEP:
        return combinations
    missing = set().union(*map(_pairs_of, combinations))
    chosen = []
    while missing:
        chosen.append(max(combinations, key=lambda one: len(_pairs_of(one) & missing)))
        missing -= _pairs_of(chosen[-1])
    return chosen


def _pairs_of(combination: dict[str, str]) -> set[tuple[tuple[str, str], ...]]:
    return set(itertools.combinations(sorted(combination.items()), 2))
