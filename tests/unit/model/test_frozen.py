"""Values are equal, hashed and shown by their fields, and replaced instead of changed."""

from __future__ import annotations

import copy
import inspect
from dataclasses import field, fields, replace
from typing import Any

import pytest

from synapse_apply.model.frozen import frozen, mutable


@frozen
class Pair:
    """Two fields and one that is neither shown nor compared."""

    name: str
    size: int = 0
    hidden: str = field(default="", repr=False, compare=False)


@frozen
class Single:
    """One field."""

    items: tuple[int, ...] = ()


@frozen
class Twin:
    """The fields of another."""

    name: str
    size: int = 0


@frozen
class Nothing:
    """No field at all."""


@frozen
class Larger(Pair):
    """With fields of its own behind those of another, and one that no caller gives."""

    tags: list[str] = field(default_factory=list)
    total: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        # As a class may do while it makes its values.
        self.total = self.size + len(self.tags)  # type: ignore[misc]


@mutable
class Counter:
    """Whose field is assigned again."""

    count: int = 0


@frozen
class Own:
    """With ways of its own."""

    name: str

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return "own"


def test_equal_fields_are_one_value() -> None:
    """And one key; another class with the same fields is another value."""
    assert Pair("a", 1, "x") == Pair("a", 1, "y")
    assert Pair("a", 1) != Pair("a", 2)
    assert Pair("a") != Twin("a")
    assert Pair("a") != ("a", 0)
    assert len({Pair("a", 1), Pair("a", 1, "z"), Twin("a", 1), Single(), Single((1,))}) == 4
    assert Single((1,)) == Single((1,))
    assert Single((1,)) != Single((2,))
    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())


def test_what_is_hidden_is_not_shown() -> None:
    """As `field(repr=False)` asks for: secrets stand there."""
    assert repr(Pair("a", 1, "secret")) == "Pair(name='a', size=1)"
    assert repr(Single()) == "Single(items=())"
    assert repr(Nothing()) == "Nothing()"


def test_own_methods_stay() -> None:
    """Only what a class lacks is added."""
    assert (hash(Own("a")), repr(Own("a"))) == (7, "own")
    assert Own("a") == Own("a")


def test_it_is_a_dataclass_with_slots() -> None:
    """So that `replace`, `fields` and `copy` work, and a misspelt name is an error."""
    one = Pair("a", 1, "x")
    assert replace(one, size=2) == Pair("a", 2)
    assert [part.name for part in fields(Pair)] == ["name", "size", "hidden"]
    assert copy.deepcopy(one).hidden == "x"
    with pytest.raises(AttributeError):
        one.nmae = "b"  # type: ignore[attr-defined]


def test_a_class_has_the_fields_of_the_class_that_it_derives_from() -> None:
    """In their order, with their defaults; each value has a list of its own."""
    one, two = Larger("a", 2, tags=["x"]), Larger("a")
    assert (one.total, one.tags, two.total, two.tags) == (3, ["x"], 0, [])
    two.tags.append("y")
    assert Larger("a").tags == []
    assert [part.name for part in fields(Larger)] == ["name", "size", "hidden", "tags", "total"]
    assert replace(one, name="b") == Larger("b", 2, tags=["x"])
    assert repr(one) == "Larger(name='a', size=2, tags=['x'], total=3)"
    assert one != Pair("a", 2)
    assert not hasattr(one, "__dict__")
    with pytest.raises((TypeError, ValueError), match="init=False"):
        replace(one, total=9)


def test_arguments_are_checked_as_those_of_any_function() -> None:
    """By number and name, and the error names the class."""
    wrong: Any = Pair
    wrong_larger: Any = Larger
    with pytest.raises(TypeError, match=r"Pair\.__init__\(\) missing 1 required .* 'name'"):
        wrong()
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        wrong("a", colour="red")
    with pytest.raises(TypeError, match="'total'"):
        wrong_larger("a", total=1)
    assert list(inspect.signature(Pair).parameters) == ["name", "size", "hidden"]


def test_a_default_that_could_be_changed_is_refused() -> None:
    """All values would share it."""
    with pytest.raises(TypeError, match="default of items could be changed"):

        @frozen
        class _Shared:
            items: list[str] = []  # noqa: RUF012 - this is what is refused


def test_a_pattern_takes_the_fields_in_their_order() -> None:
    """As of any dataclass."""
    match Pair("a", 2):
        case Pair(name, size):
            assert (name, size) == ("a", 2)
    assert Larger.__match_args__ == ("name", "size", "hidden", "tags")  # type: ignore[attr-defined]


def test_a_mutable_value_is_no_key() -> None:
    """What is equal now may differ later."""
    one = Counter()
    one.count += 1
    assert (one, repr(one)) == (Counter(1), "Counter(count=1)")
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)
    with pytest.raises(AttributeError):
        one.cuont = 2  # type: ignore[attr-defined]
