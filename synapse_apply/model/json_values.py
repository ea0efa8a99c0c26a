"""How a field value is coded as JSON, and which JSON of a server is accepted.

The markers:

    {"$mac": HEX, "key_id": ID}   {"$withheld": HOW}        {"$absent": true}
                                  a `place` (HEX) beside them where it is known
    {"$known_after_apply": ADDR}  {"$reference": ADDR}      {"$float": "nan"}  {"$int": "0x..."}
    {"$map": {...}}               a map that itself has a key with `$`
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, TypeVar

from synapse_apply.model import values
from synapse_apply.model.address import Address
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import JsonObject, JsonValue

T = TypeVar("T")

# The key in a dataclass field's metadata that has its TextForm.
FORM_METADATA_KEY = "form"
# The key in a field's metadata that has its JSON key, if that is not the field's name. By it a
# renamed field keeps the JSON key of users' files: `field(metadata={KEY: "the_old_name"})`.
KEY = "key"
# The key in a field's metadata that is True where its JSON key is left out while it has its default
# value. So a field that came later does not change what is written for all values without it.
OMITTED_BY_DEFAULT = "omitted by default"


@frozen
class TextForm:
    """The pattern that a text has to match completely, and its description for errors."""

    pattern: re.Pattern[str]
    description: str


def build_canonical_encoder(**options: Any) -> json.JSONEncoder:
    """An encoder with sorted keys and without blanks; `options` are others of `JSONEncoder`.

    Build it once: `json.dumps` with the same arguments builds a new encoder at each call.
    """
    return json.JSONEncoder(sort_keys=True, separators=(",", ":"), **options)


_ASCII_ENCODER = build_canonical_encoder(allow_nan=False)


def format_canonical_json(data: Any) -> str:
    """The canonical JSON text of a value: ASCII, sorted keys, no blanks; 1, 1.0 and true differ."""
    return _ASCII_ENCODER.encode(data)


# Python refuses to print longer integers in decimal (sys.set_int_max_str_digits); hex has no limit.
MAX_DECIMAL_BITS = 10_000
# The limit of a value's depth, and of the steps of a path. Manifests may not nest
# more deeply; values are read and shown by recursion, with several calls for each level.
MAX_DEPTH = 100
TOO_DEEP = "nested too deeply to be stored"


# Types that are read as they are: most of what is ever read.
_PLAIN_JSON_TYPES = frozenset({str, int, float, bool, NoneType})


class WrongShapeError(ValueError):
    """Data that has not the shape in which it is written; `path` leads to the place."""

    def __init__(self, problem: str, path: str = "") -> None:
        """`problem` names the expected and the actual type, never a value, which may be secret."""
        super().__init__(f"{path.lstrip('.')}: {problem}" if path else problem)
        self.problem = problem
        self.path = path

    def with_outer_step(self, step: str) -> WrongShapeError:
        """The same error with a step added at the front of its path."""
        # Built from the inside out, so that decoding a good value builds no path at all.
        return WrongShapeError(self.problem, step + self.path)


def value_to_json(value: Any, levels_left: int = MAX_DEPTH) -> JsonValue:
    """The JSON of a value: JSON as it is (a tuple as a list), markers as objects with a `$` key.

    Raises WrongShapeError for more than `levels_left` levels, TypeError for secrets and other
    types.
    """
    if value is None or type(value) is str or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        is_long = value.bit_length() > MAX_DECIMAL_BITS
        return {"$int": hex(value)} if is_long else value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, list | tuple):
        return [value_to_json(item, _one_level_less(levels_left)) for item in value]
    if isinstance(value, Mapping):
        plain = {
            require_text_key(key): value_to_json(item, _one_level_less(levels_left))
            for key, item in value.items()
        }
        # Wrapped, so that a user's map with a key such as `$mac` is not read as a marker.
        return {"$map": plain} if any(key.startswith("$") for key in plain) else plain
    return _encode_marker(value)


def value_from_json(data: Any, levels_left: int = MAX_DEPTH) -> Any:
    """The value of JSON data, the inverse of `value_to_json`; raises WrongShapeError."""
    if type(data) in _PLAIN_JSON_TYPES:
        return data
    if isinstance(data, list):
        levels_left = _one_level_less(levels_left)
        return [
            _decode_nested_value(f"[{index}]", item, levels_left) for index, item in enumerate(data)
        ]
    if not isinstance(data, dict):
        return data
    marker_key = next((key for key in data if key.startswith("$")), None)
    if marker_key is None:
        return _decode_map(data, levels_left)
    if marker_key == "$map":
        return decode_step(
            f".{marker_key}", lambda inner: _decode_map(inner, levels_left), data[marker_key]
        )
    if marker_key not in MARKER_DECODERS:
        # A newer version wrote it: reading it as a plain map could send it to a server.
        raise WrongShapeError("a marker this version does not know")
    return decode_step(
        f".{marker_key}", lambda inner: MARKER_DECODERS[marker_key](inner, data), data[marker_key]
    )


def _decode_map(data: Any, levels_left: int) -> Any:
    levels_left = _one_level_less(levels_left)
    if not isinstance(data, dict):
        raise WrongShapeError(format_type_mismatch("an object", data))
    return {key: _decode_nested_value(f".{key}", item, levels_left) for key, item in data.items()}


def _decode_nested_value(step: str, data: Any, levels_left: int) -> Any:
    """As `decode_step` for a value inside another; most values are scalars."""
    if type(data) in _PLAIN_JSON_TYPES:
        return data
    return decode_step(step, lambda inner: value_from_json(inner, levels_left), data)


def _one_level_less(levels_left: int) -> int:
    if not levels_left:
        raise WrongShapeError(TOO_DEEP)
    return levels_left - 1


def _encode_marker(value: Any) -> JsonObject:
    if isinstance(value, values.Sensitive | values.SecretRef | values.DesiredSecret):
        raise TypeError("a secret is never stored")
    if value is values.ABSENT:
        return {"$absent": True}
    if isinstance(value, values.Mac):
        place = {"place": value.place} if value.place else {}
        return {"$mac": value.digest, "key_id": value.key_id, **place}
    if isinstance(value, values.WithheldSecret):
        return {"$withheld": value.form}
    if isinstance(value, values.KnownAfterApply):
        return {"$known_after_apply": str(value.address)}
    if isinstance(value, values.Reference):
        return {"$reference": str(value.address)}
    raise TypeError(f"a {type(value).__name__} cannot be stored")


MARKER_DECODERS: Mapping[str, Callable[[Any, JsonObject], Any]] = {
    "$absent": lambda _inner, _marker_object: values.ABSENT,
    "$mac": lambda inner, marker_object: values.Mac(
        place=require_text(marker_object.get("place", "")),
        key_id=require_text(marker_object.get("key_id")),
        digest=require_text(inner),
    ),
    "$withheld": lambda inner, _marker_object: values.WithheldSecret(require_text(inner)),
    "$known_after_apply": lambda inner, _marker_object: values.KnownAfterApply(
        decode_address(inner)
    ),
    "$reference": lambda inner, _marker_object: values.Reference(decode_address(inner)),
    "$float": lambda inner, _marker_object: _parse(inner, float, "a number"),
    "$int": lambda inner, _marker_object: _parse(inner, lambda text: int(text, 16), "a number"),
}


def decode_step(step: str, decode: Callable[[Any], Any], data: Any) -> Any:
    try:
        return decode(data)
    except WrongShapeError as problem:
        raise problem.with_outer_step(step) from None


def require_text(data: Any) -> str:
    if not isinstance(data, str):
        raise WrongShapeError(format_type_mismatch("a string", data))
    return data


def decode_address(data: Any) -> Address:
    return _parse(data, Address.parse, "an address, KIND/NAME")


def _parse(data: Any, parse: Callable[[str], T], expected: str) -> T:
    text = require_text(data)
    try:
        return parse(text)
    except ValueError:
        raise WrongShapeError(f"expected {expected}") from None


def require_text_key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key must be a string, not a {type(key).__name__}")
    return key


def format_type_mismatch(expected_type: str, value: Any) -> str:
    found = JSON_TYPE_NAMES.get(type(value), type(value).__name__)
    return f"expected {expected_type}, found {found}"


JSON_TYPE_NAMES: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a truth",
    NoneType: "null",
}


# Which JSON of a server is accepted: strictly for data, leniently for text that is only shown.
#
# Python's reader accepts what RFC 8259 excludes (NaN, lone surrogates, duplicate names) and raises
# various errors for what is too large. What is accepted here can be compared, written into a state,
# sent back and printed; everything else raises OddJsonError.

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
    decoded_text = decode_utf8(text)
    is_long = _LONG_NUMBER.search(decoded_text) is not None
    value = _decode(_STRICT_LONG_DECODER if is_long else _STRICT_DECODER, decoded_text)
    has_mark = _SURROGATE.search(decoded_text) is not None
    if has_mark and not is_encodable_as_utf8(json.dumps(value, ensure_ascii=False)):
        raise OddJsonError("a string in it has half of a surrogate pair, which is not a character")
    return value


def parse_lenient_json(text: str | bytes) -> JsonValue:
    """The value of a JSON text that is only shown to people, such as a line of a log.

    NaN and numbers that are too large become texts; raises OddJsonError for what is not JSON.
    """
    decoded_text = decode_utf8(text)
    value = _decode(_LENIENT_DECODER, decoded_text)
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
    # Through UTF-16, where two surrogates that belong together become their character.
    return values.map_json(
        value,
        lambda part: (
            part.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            if isinstance(part, str)
            else part
        ),
    )


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


def is_encodable_as_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8."""
    try:
        # Bytes of the environment that are not UTF-8 appear as lone surrogates (PEP 383).
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _decode(decoder: json.JSONDecoder, text: str) -> JsonValue:
    try:
        value = decoder.decode(text)
    except OddJsonError:
        raise
    except ValueError:
        raise OddJsonError(NOT_JSON) from None
    except RecursionError:
        raise OddJsonError(_TOO_DEEP) from None
    if is_nested_too_deeply(value):
        raise OddJsonError(_TOO_DEEP)
    return value


_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"


def _refuse_constant(name: str) -> Any:
    raise OddJsonError(f"it has {name}, which JSON does not allow")


def _parse_finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise OddJsonError("a number in it is too large for a double")
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
