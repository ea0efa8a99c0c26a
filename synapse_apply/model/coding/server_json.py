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

MAX_DEPTH = 100
NOT_JSON = "it is not JSON"
# Integers up to here are what a double can hold, as 1e308 is.
_MAX_DIGITS = 308
_LONG_NUMBER = re.compile(rf"[0-9]{{{_MAX_DIGITS + 1}}}")
_FIELD_NAME = re.compile(r"[A-Za-z_]{1,40}")
_MAX_NAMED_FIELDS = 8
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class OddJsonError(ValueError):
    """The text is no JSON, or holds a value that no program could keep; its text never quotes."""


# Strict for what the program uses; logs are parsed leniently, because people read them.
def parse_strict_json(text: str | bytes) -> Any:
    """The value of a text in UTF-8, strictly; OddJsonError says what is wrong."""
    return _parse_with_decoder(decode_utf8(text), _STRICT_DECODER, _STRICT_LONG_DECODER)


def parse_lenient_json(text: str | bytes) -> Any:
    """The value of a text that is only shown to people, such as a line of a log.

    What has no meaning becomes a text that shows it; OddJsonError for what is no JSON.
    """
    decoded_text = decode_utf8(text)
    value = _parse_with_decoder(
        decoded_text, _LENIENT_DECODER, _LENIENT_DECODER, refuse_surrogates=False
    )
    return replace_lone_surrogates(value) if _SURROGATE.search(decoded_text) else value


def is_nested_too_deeply(value: Any) -> bool:
    """Whether a value is nested more deeply than our own functions can follow."""
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
    return bool(level)


def replace_lone_surrogates(value: Any) -> Any:
    """The value with U+FFFD for each lone surrogate: they cannot be printed or stored."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [replace_lone_surrogates(inner) for inner in value]
    if isinstance(value, dict):
        return {
            replace_lone_surrogates(name): replace_lone_surrogates(inner)
            for name, inner in value.items()
        }
    return value


def describe_field_names(value: Mapping[str, Any]) -> str:
    """Names of fields tell what answered instead: an error page, a list, another program."""
    names = sorted(name for name in value if _FIELD_NAME.fullmatch(name))[:_MAX_NAMED_FIELDS]
    return f"its fields are {', '.join(names)}" if names else "it has no fields"


def decode_utf8(text: str | bytes) -> str:
    """The text in UTF-8; OddJsonError for any other."""
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OddJsonError("it is not in UTF-8") from None


def _parse_with_decoder(
    text: str,
    decoder: json.JSONDecoder,
    long_number_decoder: json.JSONDecoder,
    *,
    refuse_surrogates: bool = True,
) -> Any:
    try:
        value = (long_number_decoder if _LONG_NUMBER.search(text) else decoder).decode(text)
    except OddJsonError:
        raise
    except ValueError:
        raise OddJsonError(NOT_JSON) from None
    except RecursionError:
        raise OddJsonError(_TOO_DEEP) from None
    if is_nested_too_deeply(value):
        raise OddJsonError(_TOO_DEEP)
    if refuse_surrogates and _SURROGATE.search(text) and not _is_valid_unicode(value):
        raise OddJsonError("a text in it has half of a surrogate pair, which is no character")
    return value


_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"


def _is_valid_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(name: str) -> Any:
    raise OddJsonError(f"it has {name}, which JSON has not")


def _parse_finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise OddJsonError("a number in it is beyond all that a double can hold")
    return value


def _parse_bounded_integer(text: str) -> int:
    if len(text.lstrip("-")) > _MAX_DIGITS:
        raise OddJsonError(f"an integer in it has more than {_MAX_DIGITS} digits")
    return int(text)


def _build_object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise OddJsonError("an object in it has two values under one name")
    return result


_STRICT_HOOKS: dict[str, Any] = {
    "parse_constant": _refuse_constant,
    "parse_float": _parse_finite_float,
    "object_pairs_hook": _build_object_without_duplicates,
}
_STRICT_DECODER = json.JSONDecoder(**_STRICT_HOOKS)
# A hook for integers is called for each of them: only where one may be too long.
_STRICT_LONG_DECODER = json.JSONDecoder(**_STRICT_HOOKS, parse_int=_parse_bounded_integer)


def _parse_float_or_text(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _parse_int_or_text(text: str) -> int | str:
    return int(text) if len(text) <= _MAX_DIGITS else text


_LENIENT_DECODER = json.JSONDecoder(
    parse_constant=str, parse_float=_parse_float_or_text, parse_int=_parse_int_or_text, strict=False
)


def decode_lenient_json_at(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at this place, and where it ends; as `parse_lenient_json`.

    ValueError also where it goes on behind the text's end.
    """
    try:
        value, end = _LENIENT_DECODER.raw_decode(text, start)
    except RecursionError:
        raise OddJsonError(_TOO_DEEP) from None
    if is_nested_too_deeply(value):
        raise OddJsonError(_TOO_DEEP)
    if _SURROGATE.search(text, start, end):
        value = replace_lone_surrogates(value)
    return value, end
