"""The order of a plan and the order of versions."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort

from synapse_apply.model.address import Address
from synapse_apply.model.packages import (
    bump_version_or_empty,
    find_next_free_patch,
    version_sort_key,
)
from synapse_apply.planning.order import sort_by_dependencies_and_find_cycles


def _at(name: str) -> Address:
    return Address("widget", name)


def test_unknown_dependencies_do_not_order() -> None:
    """What is no node of the graph is left to others."""
    ordered, cycles = sort_by_dependencies_and_find_cycles(
        {_at("a"): [_at("elsewhere")]}, lambda _: 0
    )
    assert ordered == [_at("a")]
    assert cycles == []


def test_every_cycle_is_found_and_the_rest_is_ordered() -> None:
    """Two rings and a self-reference, each named from its first address."""
    a, b, c, d, e, f = map(_at, "abcdef")
    graph = {a: [b], b: [a], c: [d], d: [c], e: [e], f: [a, c, e]}
    ordered, cycles = sort_by_dependencies_and_find_cycles(graph, lambda _: 0)
    assert set(ordered) == set(graph)
    assert ordered[-1] == f
    assert sorted(cycles) == [(a, b, a), (c, d, c), (e, e)]


@effort(12, 500)
@given(
    st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=3)),
    st.randoms(use_true_random=False),
)
def test_order_depends_on_the_graph_alone(graph: dict[int, list[int]], random: object) -> None:
    """Whatever order nodes and edges come in; and without cycles needs come first."""
    plain = {_at(str(n)): [_at(str(m)) for m in needs] for n, needs in graph.items()}
    shuffled = list(plain.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    ordered, cycles = sort_by_dependencies_and_find_cycles(plain, lambda _: 0)
    again = sort_by_dependencies_and_find_cycles(
        {n: needs[::-1] for n, needs in shuffled}, lambda _: 0
    )
    assert (ordered, cycles) == again
    assert sorted(ordered) == sorted(plain)
    if not cycles:
        place = {address: n for n, address in enumerate(ordered)}
        assert all(place[m] < place[n] for n, needs in plain.items() for m in needs if m in place)


def test_versions_are_ordered_as_semantic_versions() -> None:
    """The chain of semantic versioning 2.0.0 section 11, numbers as numbers."""
    chain = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.9.0",
        "1.10.0",
    ]
    keys = [version_sort_key(version) for version in chain]
    assert None not in keys
    assert keys == sorted(keys, key=lambda key: key or ())
    assert len(set(keys)) == len(keys)
    assert version_sort_key("1.0.0+linux") == version_sort_key("1.0.0")


@pytest.mark.parametrize(
    "version", ["", "1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0.0", "next"]
)
def test_other_versions_have_no_order(version: str) -> None:
    """What is not a semantic version never supersedes."""
    assert version_sort_key(version) is None
    assert not find_next_free_patch(version, [])


@pytest.mark.parametrize(
    ("version", "taken", "following"),
    [
        ("1.1.0", [], "1.1.1"),
        ("1.1.0", ["1.1.1", "1.1.2"], "1.1.3"),
        ("2.0.0-rc.1", [], "2.0.0"),
        ("1.9.9+build", [], "1.9.10"),
    ],
)
def test_next_version(version: str, taken: list[str], following: str) -> None:
    """The patch version after it that nobody has."""
    assert find_next_free_patch(version, taken) == following


@given(
    *[st.integers(0, 3)] * 3,
    st.sampled_from(["", "-rc.1", "-0", "+b", "-a+b"]),
    st.sampled_from(["major", "minor", "patch"]),
)
def test_a_raised_version_comes_after(
    major: int, minor: int, patch: int, more: str, part: str
) -> None:
    """It is higher, released, and leaves no version of its kind out on the way."""
    version = f"{major}.{minor}.{patch}{more}"
    before, after = (
        version_sort_key(version),
        version_sort_key(bump_version_or_empty(version, part)),
    )
    assert before
    assert after
    assert before < after
    at = ("major", "minor", "patch").index(part)
    assert after[at] - before[at] in (0, 1)
    assert after[:at] == before[:at]
    assert after[at + 1 : 3] == (0,) * (2 - at)
    assert not bump_version_or_empty("1.0", part)


def test_a_hundred_circles_take_no_hundredfold_time() -> None:
    """Circles are looked for where they are, once: 4,000 pairs, and one knot of 300."""
    at = [Address("release", f"r{n}") for n in range(8000)]
    pairs = {one: [at[n ^ 1]] for n, one in enumerate(at)}
    knot = dict.fromkeys(at[:300], at[:300])
    for graph, most in ((pairs, 4000), (knot, 320)):
        begun = time.process_time()
        ordered, cycles = sort_by_dependencies_and_find_cycles(graph, lambda _: 0)
        assert len(ordered) == len(graph)
        assert 0 < len(cycles) <= most
        assert time.process_time() - begun < 60
