"""Which variants run by default, and which with SYNAPSE_APPLY_TEST_DEEP=1 alone."""

from __future__ import annotations

import os
from typing import TypeVar

Value = TypeVar("Value")
_DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP") == "1"


def choose(every: dict[str, Value], *few: str) -> dict[str, Value]:
    """All of these, or when not all are asked for, the few of them."""
    return {name: value for name, value in every.items() if _DEEP or name in few}
