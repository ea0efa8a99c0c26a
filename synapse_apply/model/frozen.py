"""How value classes are made: dataclasses with slots, whose methods are compiled when used.

`frozen` is `dataclass(frozen=True, slots=True)`, with assignment forbidden by the type checker
alone; `mutable` is `dataclass(slots=True)`. The standard library generates up to six methods for
each class at import, which took a third of a small plan's time, and assigns each field of a frozen
class by a call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field
from functools import cached_property
from inspect import get_annotations
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

T = TypeVar("T")
# Of each class anew; a copy of a class is made without them.
_MEMBERS_OF_ONE_CLASS = ("__dict__", "__weakref__")
# In the place of an argument, where the field has a factory and no argument was given.
_NOT_GIVEN = object()


@dataclass(init=False, repr=False, eq=False)
class _Plain:
    """A dataclass of the standard library, whose parameters every value class has."""


# Marks a field as one of the class itself, for `fields` and `replace` of the standard library.
_OF_CLASS: Any = vars(dataclasses)["_FIELD"]


# In place of the standard library's, which compiles up to six methods for each class at import,
# 0.6 ms in all; a plan imports 250 such classes and makes values of a third of them. Here a class
# costs 0.02 ms at import, `__init__` 0.04 ms more when the first value is made; the other methods
# are shared, and a frozen value takes a third of the time. Type checkers still see dataclasses.
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(kind: type[T]) -> type[T]:
    """Class decorator: a dataclass whose equality, hash and repr use its fields, as declared.

    TypeError for a default that could be changed, such as a list.
    """
    return _build_value_class(kind, __hash__)


@dataclass_transform(field_specifiers=(field,))
def mutable(kind: type[T]) -> type[T]:
    """Class decorator: as `frozen`, for values whose fields are assigned again; without a hash."""
    return _build_value_class(kind, None)


def _replace(value: Any, /, **changes: Any) -> Any:
    """A copy of a value with some fields changed, at a tenth of the standard library's calls.

    TypeError for an unknown field.
    """
    kind = type(value)
    given = zip(kind.__match_args__, kind.__given__(value), strict=True)
    return kind(**{**dict(given), **changes})


# A type checker knows the fields of the standard library's.
if TYPE_CHECKING:
    from dataclasses import replace as replace  # noqa: PLC0414 - for others to import
else:
    replace = _replace


def _build_value_class(kind: type[T], hash_method: Callable[[Any], int] | None) -> type[T]:
    members = {
        name: member for name, member in vars(kind).items() if name not in _MEMBERS_OF_ONE_CLASS
    }
    own_fields: dict[str, Any] = {}
    for name, annotation in get_annotations(kind).items():
        if not str(annotation).startswith("ClassVar"):
            default = members.pop(name, MISSING)
            if type(default).__hash__ is None:
                raise TypeError(f"the default of {name} could be changed: use default_factory")
            own_fields[name] = default if isinstance(default, Field) else field(default=default)
            # As `dataclass` notes them, which a class of the standard library may derive from.
            noted = {"name": name, "type": annotation, "kw_only": False, "_field_type": _OF_CLASS}
            for attribute, value in noted.items():
                setattr(own_fields[name], attribute, value)
    value_fields: dict[str, Field[Any]] = {}
    inherited_slots: set[str] = set()
    for base in reversed(kind.__mro__):
        value_fields.update(vars(base).get("__dataclass_fields__", {}))
        inherited_slots.update(vars(base).get("__slots__", ()))
    value_fields.update(own_fields)
    # A cached property keeps its value in the dictionary of the object.
    has_cached_property = any(isinstance(member, cached_property) for member in members.values())
    own_slots = (*own_fields, "__dict__") if has_cached_property else tuple(own_fields)
    compared = tuple(name for name, value_field in value_fields.items() if value_field.compare)
    given = tuple(name for name, value_field in value_fields.items() if value_field.init)
    made_members = {
        "__init__": _DeferredInit(),
        "__match_args__": given,
        "__given__": staticmethod(_tuple_of(given)),
        "__replace__": _replace,
        "__repr__": __repr__,
        "__eq__": __eq__,
        "__hash__": hash_method,
        **members,
        "__qualname__": kind.__qualname__,
        "__slots__": tuple(name for name in own_slots if name not in inherited_slots),
        "__dataclass_fields__": value_fields,
        "__dataclass_params__": vars(_Plain)["__dataclass_params__"],
        "__compared__": staticmethod(_tuple_of(compared)),
        "__shown__": tuple(name for name, value_field in value_fields.items() if value_field.repr),
    }
    class_of_classes: Any = type(kind)
    value_class: type[T] = class_of_classes(kind.__name__, kind.__bases__, made_members)
    return value_class


class _DeferredInit:
    """Stands in a value class for `__init__`, and puts it in its own place at the first use."""

    __slots__ = ("_value_class",)

    def __set_name__(self, value_class: type, _name: str) -> None:
        self._value_class: Any = value_class

    def __get__(self, value: object, owner: type | None = None) -> Any:
        initialize = _compile_init(self._value_class)
        self._value_class.__init__ = initialize
        return initialize.__get__(value, owner)


def _compile_init(value_class: Any) -> Callable[..., None]:
    names: dict[str, Any] = {"__name__": value_class.__module__, "__not_given__": _NOT_GIVEN}
    parameters, lines = ["self"], []
    for name, value_field in value_class.__dataclass_fields__.items():
        default = f"__default_of_{name}__"
        parameter, assigned = name, name if value_field.init else ""
        if value_field.default_factory is not MISSING:
            names[default] = value_field.default_factory
            parameter = f"{name}=__not_given__"
            fallback_condition = (
                f" if {name} is __not_given__ else {name}" if value_field.init else ""
            )
            assigned = f"{default}(){fallback_condition}"
        elif value_field.default is not MISSING:
            names[default] = value_field.default
            parameter = f"{name}={default}"
            assigned = assigned or default
        if value_field.init:
            parameters.append(parameter)
        if assigned:
            lines.append(f" self.{name} = {assigned}\n")
    if hasattr(value_class, "__post_init__"):
        lines.append(" self.__post_init__()\n")
    exec(f"def __init__({', '.join(parameters)}):\n{''.join(lines) or ' pass'}", names)  # noqa: S102
    initialize: Any = names["__init__"]
    initialize.__qualname__ = f"{value_class.__qualname__}.__init__"
    compiled: Callable[..., None] = initialize
    return compiled


def _tuple_of(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """As `attrgetter`, which returns no tuple for one name and takes no empty list of names."""
    if len(names) > 1:
        return attrgetter(*names)
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
