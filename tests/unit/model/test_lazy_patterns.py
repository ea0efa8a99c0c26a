"""Patterns that are compiled late."""

from __future__ import annotations

import re

import pytest

from synapse_apply.model.lazy_patterns import lazy_pattern


def test_a_pattern_is_compiled_at_its_first_use() -> None:
    """Then it does what `re.compile` gives."""
    broken, pattern = lazy_pattern("("), lazy_pattern("(a)(B)?", re.IGNORECASE)
    with pytest.raises(re.error):
        broken.match("a")
    assert pattern.fullmatch("AB") is not None
    assert (pattern.sub("x", "ab a"), pattern.pattern, pattern.groups) == ("x x", "(a)(B)?", 2)
