"""How many examples a law gets: few in `make test`, many in `make laws`."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP") == "1"
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


def effort(few: int, many: int, steps: int = 50) -> settings:
    """`few` examples, the same each time, or `many` new ones with SYNAPSE_APPLY_TEST_DEEP=1."""
    return settings(
        max_examples=many if DEEP else few,
        derandomize=not DEEP,
        deadline=None,
        stateful_step_count=steps,
        database=None,
        print_blob=True,
        suppress_health_check=_SLOW,
    )


def spread(combinations: list[Any]) -> list[Any]:
    """Some combinations in which each value of each switch occurs, or all of them when deep."""
    if DEEP:
        return combinations
    # A step that shares no factor with the number of combinations meets every value early.
    count = len(combinations)
    step, few = (37, 8) if count > 37 else (5, 3)
    return [combinations[(n * step) % count] for n in range(few)]
