"""When two values are the same, and that their canonical text agrees."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort

from synapse_apply.kinds.compare import format_comparable_json, is_same_value
from synapse_apply.kinds.descriptor import Compare
from synapse_apply.model.address import Address
from synapse_apply.model.values import ABSENT, KnownAfterApply, Mac, WithheldSecret

EQUAL = [
    (1, 1.0),
    (0.0, -0.0),
    (None, ABSENT),
    ({"a": 1, "b": None}, {"a": 1.0}),
    ([1, {"a": [True]}], [1.0, {"a": [True]}]),
    ((1, 2), [1, 2]),
    (Mac("k", "d"), Mac("k", "d")),
    (KnownAfterApply(Address("w", "a")), KnownAfterApply(Address("w", "a"))),
]
DIFFERENT = [
    (True, 1),
    (False, 0),
    (False, None),
    ("1", 1),
    ("", ABSENT),
    ([], ABSENT),
    ({}, ABSENT),
    ({}, []),
    (2**53, 2**53 + 1),
    (2.0**53, 2**53 + 1),
    ([1, 2], [2, 1]),
    ([1], [1, 1]),
    ([[1]], [[True]]),
    (Mac("k", "d"), Mac("other", "d")),
    (Mac("k", "d"), "d"),
    (WithheldSecret("masked"), WithheldSecret("omitted")),
]


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_same(left: Any, right: Any) -> None:
    """Equal both ways, and in their canonical text."""
    assert is_same_value(left, right)
    assert is_same_value(right, left)
    assert format_comparable_json(left) == format_comparable_json(right)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_not_same(left: Any, right: Any) -> None:
    """Different both ways, and in their canonical text."""
    assert not is_same_value(left, right)
    assert not is_same_value(right, left)
    assert format_comparable_json(left) != format_comparable_json(right)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ([1, 2, 2], [2, 1.0, 2], True),
        ([1, 1, 2], [1, 2, 2], False),
        ([{"a": 1}, {"b": 2}], [{"b": 2}, {"a": 1}], True),
        ([1, True], [True, 1], True),
        ([1, 1], [True, 1], False),
    ],
)
def test_sets_count_but_do_not_order(left: Any, right: Any, equal: bool) -> None:
    """Lists compared as sets keep how often an item stands in them."""
    assert is_same_value(left, right, Compare.SET) is equal
    assert (
        format_comparable_json(left, Compare.SET) == format_comparable_json(right, Compare.SET)
    ) is equal


JSON = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, 0.5, "", "1", 10**20]),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("ab"), below, max_size=2)
    ),
    max_leaves=6,
)


@effort(25, 1000)
@given(JSON, JSON, st.sampled_from(Compare))
def test_text_agrees_with_equality(left: Any, right: Any, compare: Compare) -> None:
    """Two values are the same exactly when their canonical texts are."""
    assert is_same_value(left, left, compare)
    assert is_same_value(left, right, compare) == (
        format_comparable_json(left, compare) == format_comparable_json(right, compare)
    )
