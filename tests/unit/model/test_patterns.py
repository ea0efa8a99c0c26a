"""Names with stars, as people type them."""

from __future__ import annotations

import pytest

from synapse_apply.model.address import matches_pattern


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("*", "", True),
        ("a*", "a", True),
        ("a*a", "a", False),
        ("a*b*c", "a-b-c", True),
        ("a*b*c", "acbc", True),
        ("*b*b*", "ab", False),
        ("release/[x]*", "release/[x]@1", True),
        ("release/[x]*", "release/x@1", False),
        ("a?*", "ab", False),
        ("a", "a", True),
        ("a", "ab", False),
        ("*" * 50 + "b", "a" * 5000, False),
    ],
)
def test_only_the_star_is_special(pattern, text, fits):
    """And however many there are, the time stays linear."""
    assert matches_pattern(text, pattern) is fits
