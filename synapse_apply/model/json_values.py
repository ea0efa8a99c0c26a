"""JSON coding of one value that may stand in a field: plain JSON, or a marker.

Plain JSON is itself; everything else is an object with one `$` key:

    {"$mac": HEX, "key_id": ID}   {"$withheld": HOW}        {"$absent": true}
    {"$known_after_apply": ADDR}  {"$reference": ADDR}      {"$float": "nan"}  {"$int": "0x..."}
    {"$map": {...}}               a map that itself has a key with `$`
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.values import (
    ABSENT,
    KnownAfterApply,
    Mac,
    Reference,
    SecretRef,
    SecretWant,
    Sensitive,
    Withheld,
)

# Python refuses to print longer integers in decimal (sys.set_int_max_str_digits); hex has no limit.
LONGEST_DECIMAL_BITS = 10_000
# How deeply a value may nest, and of how many steps a path to one may be. Manifests may not nest
# more deeply; values are read and shown by recursion, several calls a level.
DEEPEST = 100
TOO_DEEP = "nested too deeply to be stored"

Json = dict[str, Any]

# JSON that stands for itself: most of what is ever read.
_THEMSELVES = frozenset({str, int, float, bool, NoneType})


class WrongShape(ValueError):
    """What was read is not what was written; `at` leads to the place."""

    def __init__(self, problem: str, at: str = "") -> None:
        """`problem` says what was expected and the type that was found, never a value."""
        super().__init__(f"{at.lstrip('.')}: {problem}" if at else problem)
        self.problem = problem
        self.at = at

    def under(self, step: str) -> WrongShape:
        """The same finding seen from one level further out."""
        return WrongShape(self.problem, step + self.at)


def value_to_json(value: Any, left: int = DEEPEST) -> Any:
    """One value: JSON as it is (a tuple as a list), markers as objects with a `$` key.

    WrongShape for one that nests more than `left` levels.
    """
    if value is None or type(value) is str or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        long = value.bit_length() > LONGEST_DECIMAL_BITS
        return {"$int": hex(value)} if long else value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, list | tuple):
        return [value_to_json(item, _one_less(left)) for item in value]
    if isinstance(value, Mapping):
        plain = {key_of(key): value_to_json(item, _one_less(left)) for key, item in value.items()}
        return {"$map": plain} if any(key.startswith("$") for key in plain) else plain
    return _marker_to_json(value)


def value_from_json(data: Any, left: int = DEEPEST) -> Any:
    """The inverse of value_to_json."""
    if type(data) in _THEMSELVES:
        return data
    if isinstance(data, list):
        left = _one_less(left)
        return [_step_into(f"[{index}]", item, left) for index, item in enumerate(data)]
    if not isinstance(data, dict):
        return data
    mark = next((key for key in data if key.startswith("$")), None)
    if mark is None:
        left = _one_less(left)
        return {key: _step_into(f".{key}", item, left) for key, item in data.items()}
    if mark == "$map":
        return step_into(f".{mark}", lambda inner: _map(inner, _one_less(left)), data[mark])
    if mark not in MARKS:
        raise WrongShape("a marker this version does not know")
    return step_into(f".{mark}", lambda inner: MARKS[mark](inner, data), data[mark])


def _step_into(step: str, data: Any, left: int) -> Any:
    """As `step_into` for a value inside another; most of what is read is a scalar."""
    if type(data) in _THEMSELVES:
        return data
    return step_into(step, lambda inner: value_from_json(inner, left), data)


def _one_less(left: int) -> int:
    if not left:
        raise WrongShape(TOO_DEEP)
    return left - 1


def _marker_to_json(value: Any) -> Json:
    if isinstance(value, Sensitive | SecretRef | SecretWant):
        raise TypeError("a secret is never stored")
    if value is ABSENT:
        return {"$absent": True}
    if isinstance(value, Mac):
        return {"$mac": value.digest, "key_id": value.key_id}
    if isinstance(value, Withheld):
        return {"$withheld": value.how}
    if isinstance(value, KnownAfterApply):
        return {"$known_after_apply": str(value.address)}
    if isinstance(value, Reference):
        return {"$reference": str(value.address)}
    raise TypeError(f"a {type(value).__name__} cannot be stored")


def _map(inner: Any, left: int) -> Any:
    if not isinstance(inner, dict):
        raise WrongShape(expected("an object", inner))
    return {key: _step_into(f".{key}", item, left) for key, item in inner.items()}


def _mac(inner: Any, whole: Json) -> Mac:
    return Mac(text_of(whole.get("key_id")), text_of(inner))


MARKS: Mapping[str, Callable[[Any, Json], Any]] = {
    "$absent": lambda _inner, _whole: ABSENT,
    "$mac": _mac,
    "$withheld": lambda inner, _whole: Withheld(text_of(inner)),
    "$known_after_apply": lambda inner, _whole: KnownAfterApply(address_of(inner)),
    "$reference": lambda inner, _whole: Reference(address_of(inner)),
    "$float": lambda inner, _whole: _number(float, inner),
    "$int": lambda inner, _whole: _number(lambda text: int(text, 16), inner),
}


def step_into(step: str, decode: Callable[[Any], Any], data: Any) -> Any:
    try:
        return decode(data)
    except WrongShape as problem:
        raise problem.under(step) from None


def text_of(data: Any) -> str:
    if not isinstance(data, str):
        raise WrongShape(expected("a text", data))
    return data


def address_of(data: Any) -> Address:
    try:
        return Address.parse(text_of(data))
    except WrongShape:
        raise
    except ValueError:
        raise WrongShape("expected an address, KIND/NAME") from None


def _number(read: Callable[[str], float], data: Any) -> float:
    try:
        return read(text_of(data))
    except WrongShape:
        raise
    except ValueError:
        raise WrongShape("expected a number") from None


def key_of(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key must be a text, not a {type(key).__name__}")
    return key


def expected(what: str, found: Any) -> str:
    return f"expected {what}, found {JSON_NAMES.get(type(found), type(found).__name__)}"


JSON_NAMES: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "an integer",
    float: "a number",
    bool: "a truth",
    NoneType: "null",
}
