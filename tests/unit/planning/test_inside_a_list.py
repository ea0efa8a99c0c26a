"""A changed list names the places inside it that differ."""

from __future__ import annotations

from synapse_apply.planning.diff import MAX_PATHS, list_differing_paths


def test_a_changed_item_is_named_by_its_path() -> None:
    """The item's index and the key below it."""
    before = [{"name": "a", "size": 1}, {"name": "b", "size": 2}]
    after = [{"name": "a", "size": 1}, {"name": "b", "size": 3}]

    assert list_differing_paths(before, after) == ((1, "size"),)


def test_an_added_and_a_removed_item_are_named_by_index() -> None:
    """Both ends of a list can move."""
    assert list_differing_paths([1], [1, 2]) == ((1,),)
    assert list_differing_paths([1, 2], [1]) == ((1,),)


def test_numbers_that_are_equal_do_not_differ() -> None:
    """1 is 1.0, as in the comparison of whole fields."""
    assert list_differing_paths([1, 2], [1.0, 3]) == ((1,),)


def test_a_scalar_has_no_inside() -> None:
    """Only lists are looked into; maps are compared key by key already."""
    assert list_differing_paths("a", "b") == ()
    assert list_differing_paths([1], "b") == ()


def test_the_number_of_places_is_bounded() -> None:
    """A list of thousands of changes stays readable."""
    assert 0 < len(list_differing_paths(list(range(400)), [-n for n in range(1, 401)])) <= MAX_PATHS
    assert list_differing_paths(list(range(5000)), list(range(1, 5001))) == ()
