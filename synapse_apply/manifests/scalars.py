"""Plain scalars by the YAML 1.2 core schema, read the careful way.

`no`, `on`, `0755`, `1_000`, `12:30:45` and dates stay strings: only what nobody can mean otherwise
becomes a number. Integers are exact.
"""

from __future__ import annotations

import math
import re
from typing import Any

_WORDS: dict[str, Any] = {
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
_NUMERIC = frozenset("+-.0123456789")
# What a scalar that is no string can begin with.
FIRST = _NUMERIC | frozenset("~nNtTfF")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED = re.compile(r"0o([0-7]+)|0x([0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# Python refuses to read longer integers in one go; nothing a manifest holds comes near.
LONGEST_NUMBER = 1000


class NotJson(ValueError):
    """A number that JSON cannot hold: infinite, or not a number."""


class TooManyDigits(NotJson):
    """A number that nobody would read as one, and that is no text either without quotes."""


def plain(text: str) -> Any:
    """The value of an unquoted scalar; NotJson for infinities, NaN and endless numbers."""
    if text in _WORDS:
        return _WORDS[text]
    return _number(text) if text[0] in _NUMERIC else text


def _number(text: str) -> Any:
    if len(text) > LONGEST_NUMBER:
        if any(form.fullmatch(text) for form in (_INTEGER, _BASED, _FLOAT)):
            raise TooManyDigits(text)
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if based := _BASED.fullmatch(text):
        return int(based[1], 8) if based[1] else int(based[2], 16)
    if _NOT_FINITE.fullmatch(text):
        raise NotJson(text)
    if _FLOAT.fullmatch(text):
        value = float(text)
        if math.isinf(value):
            raise NotJson(text)
        return value
    return text
