"""Which JSON of a server is accepted: strictly for data, leniently for text that is only shown.

Python's reader accepts what RFC 8259 excludes (NaN, lone surrogates, duplicate names)
and raises various errors for what is too large. What is accepted here can be compared, written
into a state, sent back and printed; everything else raises OddJsonError.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from synapse_apply.model.coding.json_types import JsonObject, JsonValue

MAX_DEPTH = 100
NOT_JSON = "it is not JSON"
# The magnitude that a double can hold (1e308), which is what other JSON readers use.
_MAX_DIGITS = 308
_LONG_NUMBER = re.compile(rf"[0-9]{{{_MAX_DIGITS + 1}}}")
_FIELD_NAME = re.compile(r"[A-Za-z_]{1,40}")
_MAX_NAMED_FIELDS = 8
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class OddJsonError(ValueError):
    """A text that is not JSON, or holds an unusable value; the message quotes nothing of it."""


# Strict for what the program uses; logs are parsed leniently, because people read them.
def parse_strict_json(text: str | bytes) -> JsonValue:
    """The value of a JSON text in UTF-8; raises OddJsonError for all that RFC 8259 excludes."""
    return _parse_with_decoder(decode_utf8(text), _STRICT_DECODER, _STRICT_LONG_DECODER)


def parse_lenient_json(text: str | bytes) -> JsonValue:
    """The value of a JSON text that is only shown to people, such as a line of a log.

    NaN and numbers that are too large become texts; raises OddJsonError for what is not JSON.
    """
    decoded_text = decode_utf8(text)
    value = _parse_with_decoder(
        decoded_text, _LENIENT_DECODER, _LENIENT_DECODER, refuse_surrogates=False
    )
    return replace_lone_surrogates(value) if _SURROGATE.search(decoded_text) else value


def is_nested_too_deeply(value: Any) -> bool:
    """Whether a value nests more than MAX_DEPTH levels; checked level by level, not recursively."""
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


def replace_lone_surrogates(value: Any) -> JsonValue:
    """The value with U+FFFD for each lone surrogate, which cannot be encoded as UTF-8."""
    if isinstance(value, str):
        # Through UTF-16, where two surrogates that belong together become their character.
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
    """A phrase with the first names that look like the API's; a person sees what else answered."""
    # Only names that look like the API's: a key of another service could be a secret.
    names = sorted(name for name in value if _FIELD_NAME.fullmatch(name))[:_MAX_NAMED_FIELDS]
    return f"its fields are {', '.join(names)}" if names else "it has no fields"


def decode_utf8(text: str | bytes) -> str:
    """The text of UTF-8 bytes, without a byte order mark; raises OddJsonError for others."""
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
) -> JsonValue:
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


def _build_object(pairs: list[tuple[str, Any]]) -> JsonObject:
    # RFC 8259, 4: names should be unique; which one of two counts differs between readers.
    result = dict(pairs)
    if len(result) != len(pairs):
        raise OddJsonError("an object in it has two values under one name")
    return result


_STRICT_HOOKS: dict[str, Any] = {
    "parse_constant": _refuse_constant,
    "parse_float": _parse_finite_float,
    "object_pairs_hook": _build_object,
}
_STRICT_DECODER = json.JSONDecoder(**_STRICT_HOOKS)
# With an integer hook, each integer costs a call: used only for texts that have a long number.
_STRICT_LONG_DECODER = json.JSONDecoder(**_STRICT_HOOKS, parse_int=_parse_bounded_integer)


def _parse_float(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _parse_int(text: str) -> int | str:
    return int(text) if len(text) <= _MAX_DIGITS else text


_LENIENT_DECODER = json.JSONDecoder(
    parse_constant=str, parse_float=_parse_float, parse_int=_parse_int, strict=False
)


def decode_lenient_json_at(text: str, start: int) -> tuple[Any, int]:
    """The JSON value at an offset, and the offset behind it; lenient as `parse_lenient_json`.

    Raises ValueError where there is none, or where the text ends inside of it.
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
