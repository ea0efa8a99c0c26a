"""Which unquoted scalars are numbers, booleans or null: YAML 1.2 core schema, only clear cases.

`no`, `on`, `0755`, `1_000`, `12:30:45` and dates stay strings: only what has one meaning
becomes a number. Integers are exact.
"""

from __future__ import annotations

import math
import re
from typing import Any

_KEYWORD_VALUES: dict[str, Any] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_NUMERIC_FIRST_CHARS = frozenset("+-.0123456789")
# What a scalar that is no string can begin with.
NON_STRING_FIRST_CHARS = _NUMERIC_FIRST_CHARS | frozenset("~nNtTfF")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED_INTEGER = re.compile(r"0o([0-7]+)|0x([0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# Python refuses int() of more than 4300 digits (sys.set_int_max_str_digits), which is quadratic.
MAX_NUMBER_LENGTH = 1000


class NotJsonNumber(ValueError):
    """A number that JSON cannot hold: infinite, or not a number."""


class TooManyDigits(NotJsonNumber):
    """A number of more than MAX_NUMBER_LENGTH characters."""


def parse_plain_scalar(text: str) -> Any:
    """The value of an unquoted scalar.

    Raises NotJsonNumber for infinities, NaN and long numbers.
    """
    if text in _KEYWORD_VALUES:
        return _KEYWORD_VALUES[text]
    return _parse_number(text) if text[0] in _NUMERIC_FIRST_CHARS else text


def _parse_number(text: str) -> int | float | str:
    if len(text) > MAX_NUMBER_LENGTH:
        if any(pattern.fullmatch(text) for pattern in (_INTEGER, _BASED_INTEGER, _FLOAT)):
            raise TooManyDigits(text)
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if match := _BASED_INTEGER.fullmatch(text):
        return int(match[1], 8) if match[1] else int(match[2], 16)
    if _NOT_FINITE.fullmatch(text):
        raise NotJsonNumber(text)
    if _FLOAT.fullmatch(text):
        value = float(text)
        # Such as 1e400, which is finite in YAML and infinite as a float.
        if math.isinf(value):
            raise NotJsonNumber(text)
        return value
    return text
