"""How value classes are made: dataclasses with slots, whose fields are never assigned again.

`frozen` is `dataclass(frozen=True, slots=True)`, with assignment forbidden by the
type checker alone. The standard library generates six methods for each class at
import, which took a third of a small plan's time, and assigns each field by a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


# In place of dataclass(frozen=True), which compiles six methods for each class at import, 0.6 ms
# each, and assigns each field by a call; a plan imports 170 such classes. This compiles one and
# shares the others: 0.12 ms, and a third of the time for a value. Type checkers still see a frozen
# dataclass.
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(kind: type[T]) -> type[T]:
    """Class decorator: a dataclass whose equality, hash and repr use its fields, as declared."""
    own_members = vars(kind)
    value_class: Any = dataclass(slots=True, repr=False, eq=False)(kind)
    value_fields = fields(value_class)
    compared = tuple(value_field.name for value_field in value_fields if value_field.compare)
    value_class.__compared__ = staticmethod(
        attrgetter(*compared) if len(compared) > 1 else _build_attribute_tuple_getter(compared)
    )
    value_class.__shown__ = tuple(
        value_field.name for value_field in value_fields if value_field.repr
    )
    for method in (__repr__, __eq__, __hash__):
        if method.__name__ not in own_members:
            setattr(value_class, method.__name__, method)
    result: type[T] = value_class
    return result


def _build_attribute_tuple_getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """As `attrgetter`, for one name (where that returns no tuple) and for none (where it fails)."""
    return lambda value: tuple(getattr(value, name) for name in names)


def __repr__(self: Any) -> str:  # noqa: N807 - a method of every value
    field_texts = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__shown__)
    return f"{type(self).__qualname__}({field_texts})"


def __eq__(self: Any, other: object) -> Any:  # noqa: N807
    compared = self.__compared__
    same_class = other.__class__ is self.__class__
    return compared(self) == compared(other) if same_class else NotImplemented


def __hash__(self: Any) -> int:  # noqa: N807
    return hash(self.__compared__(self))
