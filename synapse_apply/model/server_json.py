"""JSON that came from a server: read strictly, or as words that are only shown.

Python's own reader takes what RFC 8259 has not (NaN, lone surrogates, two values under one name)
and fails in its own ways at what is too large for it. What passes here can be compared, written
into a state, sent back and printed; everything else is an OddJsonError.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

DEEPEST = 100
NO_JSON = "it is not JSON"
# Integers up to here are what a double can hold, as 1e308 is.
_MOST_DIGITS = 308
_LONG_NUMBER = re.compile(rf"[0-9]{{{_MOST_DIGITS + 1}}}")
_FIELD = re.compile(r"[A-Za-z_]{1,40}")
_MOST_NAMED = 8
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class OddJsonError(ValueError):
    """The text is no JSON, or holds a value that no program could keep; its text never quotes."""


def parse(text: str | bytes) -> Any:
    """The value of a text in UTF-8, strictly; OddJsonError says what is wrong."""
    return _parse_text(decoded(text), _STRICT, _STRICT_LONG)


def parse_words(text: str | bytes) -> Any:
    """The value of a text that is only shown to people, such as a line of a log.

    What has no meaning becomes a text that shows it; OddJsonError for what is no JSON.
    """
    found = decoded(text)
    value = _parse_text(found, _LENIENT, _LENIENT, refuse_surrogates=False)
    return without_surrogates(value) if _SURROGATE.search(found) else value


def is_deep(value: Any) -> bool:
    """Whether a value is nested more deeply than our own functions can follow."""
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(DEEPEST):
        if not level:
            return False
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
    return bool(level)


def without_surrogates(value: Any) -> Any:
    """The value with U+FFFD for each lone surrogate: they cannot be printed or stored."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [without_surrogates(inner) for inner in value]
    if isinstance(value, dict):
        return {
            without_surrogates(name): without_surrogates(inner) for name, inner in value.items()
        }
    return value


def fields_of(value: Mapping[str, Any]) -> str:
    """Names of fields tell what answered instead: an error page, a list, another program."""
    names = sorted(name for name in value if _FIELD.fullmatch(name))[:_MOST_NAMED]
    return f"its fields are {', '.join(names)}" if names else "it has no fields"


def decoded(text: str | bytes) -> str:
    """The text in UTF-8; OddJsonError for any other."""
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OddJsonError("it is not in UTF-8") from None


def _parse_text(
    text: str,
    decoder: json.JSONDecoder,
    for_long: json.JSONDecoder,
    *,
    refuse_surrogates: bool = True,
) -> Any:
    try:
        value = (for_long if _LONG_NUMBER.search(text) else decoder).decode(text)
    except OddJsonError:
        raise
    except ValueError:
        raise OddJsonError(NO_JSON) from None
    except RecursionError:
        raise OddJsonError(_TOO_DEEP) from None
    if is_deep(value):
        raise OddJsonError(_TOO_DEEP)
    if refuse_surrogates and _SURROGATE.search(text) and not _is_unicode(value):
        raise OddJsonError("a text in it has half of a surrogate pair, which is no character")
    return value


_TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_constant(name: str) -> Any:
    raise OddJsonError(f"it has {name}, which JSON has not")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise OddJsonError("a number in it is beyond all that a double can hold")
    return value


def _parse_integer(text: str) -> int:
    if len(text.lstrip("-")) > _MOST_DIGITS:
        raise OddJsonError(f"an integer in it has more than {_MOST_DIGITS} digits")
    return int(text)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise OddJsonError("an object in it has two values under one name")
    return made


_FORM: dict[str, Any] = {
    "parse_constant": _no_constant,
    "parse_float": _finite,
    "object_pairs_hook": _without_twins,
}
_STRICT = json.JSONDecoder(**_FORM)
# A hook for integers is called for each of them: only where one may be too long.
_STRICT_LONG = json.JSONDecoder(**_FORM, parse_int=_parse_integer)


def _shown_float(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _shown_int(text: str) -> int | str:
    return int(text) if len(text) <= _MOST_DIGITS else text


_LENIENT = json.JSONDecoder(
    parse_constant=str, parse_float=_shown_float, parse_int=_shown_int, strict=False
)


def decode_words_at(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at this place, and where it ends; as `parse_words`.

    ValueError also where it goes on behind the text's end.
    """
    try:
        value, end = _LENIENT.raw_decode(text, start)
    except RecursionError:
        raise OddJsonError(_TOO_DEEP) from None
    if is_deep(value):
        raise OddJsonError(_TOO_DEEP)
    if _SURROGATE.search(text, start, end):
        value = without_surrogates(value)
    return value, end
