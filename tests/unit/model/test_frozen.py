"""Values are equal, hashed and shown by their fields, and replaced instead of changed."""

from __future__ import annotations

import copy
from dataclasses import field, fields, replace

import pytest

from synapse_apply.model.frozen import frozen


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
