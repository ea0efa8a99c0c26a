"""How one field value is coded as JSON: plain JSON as itself, a marker as an object with `$`.

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
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import JsonObject, JsonValue
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import (
    ABSENT,
    DesiredSecret,
    KnownAfterApply,
    Mac,
    Reference,
    SecretRef,
    Sensitive,
    WithheldSecret,
)

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
        levels_left = _one_level_less(levels_left)
        return {
            key: _decode_nested_value(f".{key}", item, levels_left) for key, item in data.items()
        }
    if marker_key == "$map":
        return decode_step(
            f".{marker_key}",
            lambda inner: _decode_map(inner, _one_level_less(levels_left)),
            data[marker_key],
        )
    if marker_key not in MARKER_DECODERS:
        # A newer version wrote it: reading it as a plain map could send it to a server.
        raise WrongShapeError("a marker this version does not know")
    return decode_step(
        f".{marker_key}", lambda inner: MARKER_DECODERS[marker_key](inner, data), data[marker_key]
    )


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
    if isinstance(value, Sensitive | SecretRef | DesiredSecret):
        raise TypeError("a secret is never stored")
    if value is ABSENT:
        return {"$absent": True}
    if isinstance(value, Mac):
        place = {"place": value.place} if value.place else {}
        return {"$mac": value.digest, "key_id": value.key_id, **place}
    if isinstance(value, WithheldSecret):
        return {"$withheld": value.form}
    if isinstance(value, KnownAfterApply):
        return {"$known_after_apply": str(value.address)}
    if isinstance(value, Reference):
        return {"$reference": str(value.address)}
    raise TypeError(f"a {type(value).__name__} cannot be stored")


def _decode_map(inner: Any, levels_left: int) -> Any:
    if not isinstance(inner, dict):
        raise WrongShapeError(format_type_mismatch("an object", inner))
    return {key: _decode_nested_value(f".{key}", item, levels_left) for key, item in inner.items()}


def _decode_mac(inner: Any, marker: JsonObject) -> Mac:
    place = require_text(marker.get("place", ""))
    return Mac(require_text(marker.get("key_id")), require_text(inner), place)


MARKER_DECODERS: Mapping[str, Callable[[Any, JsonObject], Any]] = {
    "$absent": lambda _inner, _marker_object: ABSENT,
    "$mac": _decode_mac,
    "$withheld": lambda inner, _marker_object: WithheldSecret(require_text(inner)),
    "$known_after_apply": lambda inner, _marker_object: KnownAfterApply(decode_address(inner)),
    "$reference": lambda inner, _marker_object: Reference(decode_address(inner)),
    "$float": lambda inner, _marker_object: _decode_number(float, inner),
    "$int": lambda inner, _marker_object: _decode_number(lambda text: int(text, 16), inner),
}


def decode_step(step: str, decode: Callable[[Any], Any], data: Any) -> Any:
    try:
        return decode(data)
    except WrongShapeError as problem:
        raise problem.with_outer_step(step) from None


def require_text(data: Any) -> str:
    if not isinstance(data, str):
        raise WrongShapeError(format_type_mismatch("a text", data))
    return data


def decode_address(data: Any) -> Address:
    try:
        return Address.parse(require_text(data))
    except WrongShapeError:
        raise
    except ValueError:
        raise WrongShapeError("expected an address, KIND/NAME") from None


def _decode_number(read: Callable[[str], float], data: Any) -> float:
    try:
        return read(require_text(data))
    except WrongShapeError:
        raise
    except ValueError:
        raise WrongShapeError("expected a number") from None


def require_text_key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key must be a text, not a {type(key).__name__}")
    return key


def format_type_mismatch(expected_type: str, value: Any) -> str:
    return (
        f"expected {expected_type}, found {JSON_TYPE_NAMES.get(type(value), type(value).__name__)}"
    )


JSON_TYPE_NAMES: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "an integer",
    float: "a number",
    bool: "a truth",
    NoneType: "null",
}
