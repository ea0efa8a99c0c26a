"""Strategies that are built once: to build one costs a law more than to draw from it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from hypothesis import strategies as st


@lru_cache(maxsize=1024, typed=True)
def choices(*values: Any) -> st.SearchStrategy[Any]:
    """One of these values, which can be hashed: 1, 1.0 and True are three."""
    return st.sampled_from(values)


@lru_cache(maxsize=1024)
def lists_of(
    values: st.SearchStrategy[Any], least: int = 0, most: int | None = None, *, unique: bool = False
) -> st.SearchStrategy[list[Any]]:
    """A list of these, as long as `least` to `most`."""
    return st.lists(values, min_size=least, max_size=most, unique=unique)
