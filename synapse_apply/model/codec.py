"""How dataclasses are coded as JSON by their declared types, for states and saved plans.

A dataclass becomes an object, each field under its KEY (json_values.py), else under its name; an
address becomes its text, an enum its value, a path a list (so that 0 and "0" stay apart), fields an
object of JSON Pointers (RFC 6901).

Both directions are exact. Reading ignores unknown keys and fills missing ones with defaults, so
that minor versions can read each other's files; any other shape is a WrongShapeError that names
the place, never the value. Writing checks as strictly: a secret, or what could not be read back,
raises TypeError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache, partial
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath, format_json_pointer, parse_json_pointer
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import JsonObject
from synapse_apply.model.json_values import (
    FORM_METADATA_KEY,
    KEY,
    MAX_DECIMAL_BITS,
    MAX_DEPTH,
    OMITTED_BY_DEFAULT,
    TOO_DEEP,
    TextForm,
    WrongShapeError,
    decode_address,
    decode_step,
    format_canonical_json,
    format_type_mismatch,
    require_text_key,
    value_from_json,
    value_to_json,
)
from synapse_apply.model.plan import Change, Plan
from synapse_apply.model.remote import DryRunCounts
from synapse_apply.model.state import AuditEntry, Intent, Record, State
from synapse_apply.model.values import Fields

T = TypeVar("T")


class Coder:
    """Encodes and decodes the values of one declared type; this one values of any.

    A value of `plain_type` is coded as itself, so that callers may skip both methods.
    """

    plain_type: type[Any] | None = None

    def encode(self, value: Any) -> Any:
        """The JSON of a value; TypeError for a value that could not be read back."""
        return value_to_json(value)

    def decode(self, data: Any) -> Any:
        """The value of JSON; WrongShapeError for what `encode` does not give."""
        return value_from_json(data)


@cache
def build_coder(hint: Any) -> Coder:
    """The coder of a declared type; raises TypeError for a type that has none."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return _Values()
    if hint is Address:
        return _Addresses()
    if hint in SCALAR_LABELS:
        # Numbers are checked for size, so only these types need no coding.
        return _Scalars((hint,), hint if hint in (str, bool) else None)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _Members(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _Objects(hint)
    if origin is tuple:
        # A path is limited, since values at it are shown by recursion.
        return _Lists(build_coder(args[0]), MAX_DEPTH if hint == FieldPath else None)
    if origin is frozenset:
        return _Sets(build_coder(args[0]))
    if origin is Mapping:
        return _Maps(KEY_CODERS[args[0]], build_coder(args[1]))
    if origin in (Union, UnionType):
        options = tuple(arg for arg in args if arg is not NoneType)
        return _Optionals(build_coder(options[0])) if len(options) == 1 else _Scalars(options)
    raise TypeError(f"no coding for {hint}")


class _Values(Coder):
    """Values of any type."""

    plain_type = str


class _Addresses(Coder):
    """Addresses, as their texts."""

    def encode(self, value: Any) -> str:
        return _address_text(value)

    def decode(self, data: Any) -> Address:
        return decode_address(data)


SCALAR_LABELS: Mapping[Any, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a truth",
}


@frozen
class _Scalars(Coder):
    """Values of one scalar type, or of several that JSON can tell apart."""

    types: tuple[type[Any], ...]
    plain_type: type[Any] | None = None

    def encode(self, value: Any) -> Any:
        if not self._is_valid(value):
            raise TypeError(self._mismatch(value))
        return value_to_json(value) if len(self.types) == 1 else value

    def decode(self, data: Any) -> Any:
        value = value_from_json(data) if len(self.types) == 1 else data
        if not self._is_valid(value):
            raise WrongShapeError(self._mismatch(data))
        return value

    def _is_valid(self, value: Any) -> bool:
        if isinstance(value, bool):
            return bool in self.types
        if isinstance(value, int):
            is_short = value.bit_length() <= MAX_DECIMAL_BITS
            # An integer is written as it is, so a float field accepts both.
            return (int in self.types and is_short) or self.types == (float,)
        return isinstance(value, self.types)

    def _mismatch(self, value: Any) -> str:
        return format_type_mismatch(" or ".join(map(SCALAR_LABELS.__getitem__, self.types)), value)


@frozen
class _Members(Coder):
    """Members of an enum, as their values."""

    enum_type: type[Enum]

    def encode(self, value: Any) -> Any:
        if not isinstance(value, self.enum_type):
            raise TypeError(format_type_mismatch(f"a {self.enum_type.__name__}", value))
        return value.value

    def decode(self, data: Any) -> Enum:
        # Not `enum_type(data)`, whose error quotes the value, and which accepts True for 1.
        for member in self.enum_type:
            if member.value == data:
                return member
        choices = ", ".join(str(member.value) for member in self.enum_type)
        raise WrongShapeError(f"expected one of {choices}")


class _Objects(Coder):
    """Values of a dataclass, as objects."""

    def __init__(self, kind: type[Any]) -> None:
        # Once for each class (build_coder is cached): resolving annotations is slow.
        self._kind, hints = kind, get_type_hints(kind)
        # Name, key, how it is written and read, the type that needs neither.
        self._fields: list[tuple[str, str, Any, Any, type[Any] | None]] = []
        self._required: set[str] = set()
        # What a field has that is left out where it has it.
        self._omitted: dict[str, Any] = {}
        for field in fields(kind):
            key, coder = get_json_key(field), build_coder(hints[field.name])
            if form := field.metadata.get(FORM_METADATA_KEY):
                coder = _Formed(coder, form)
            self._fields.append((field.name, key, coder.encode, coder.decode, coder.plain_type))
            if is_required_field(field):
                self._required.add(key)
            elif field.metadata.get(OMITTED_BY_DEFAULT):
                make_default = field.default_factory
                self._omitted[key] = field.default if make_default is MISSING else make_default()

    def encode(self, value: Any) -> JsonObject:
        if not isinstance(value, self._kind):
            raise TypeError(format_type_mismatch(f"a {self._kind.__name__}", value))
        data: JsonObject = {}
        omitted = self._omitted
        # The check for plain texts is inlined: most fields are texts, and a call for each is slow.
        for name, key, write, _, plain_type in self._fields:
            part = getattr(value, name)
            if key not in omitted or part != omitted[key]:
                data[key] = part if type(part) is plain_type else write(part)
        return data

    def decode(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise WrongShapeError(format_type_mismatch("an object", data))
        if missing := self._required - data.keys():
            raise WrongShapeError(f"{', '.join(sorted(missing))} missing")
        values = {}
        try:
            for name, key, _, read, plain_type in self._fields:
                if key in data:
                    part = data[key]
                    values[name] = part if type(part) is plain_type else read(part)
        except WrongShapeError as problem:
            raise problem.with_outer_step(f".{key}") from None
        return self._kind(**values)


def get_json_key(field: Field[Any]) -> str:
    """The JSON key of a field, which stays the same when the field is renamed."""
    key: str = field.metadata.get(KEY, field.name)
    return key


def is_required_field(field: Field[Any]) -> bool:
    """Whether a field has no default, so that its key must be present."""
    return field.default is MISSING and field.default_factory is MISSING


@frozen
class _Formed(Coder):
    """Values of another coder, of which texts must have a form."""

    inner: Coder
    form: TextForm

    def encode(self, value: Any) -> Any:
        if isinstance(value, str) and self.form.pattern.fullmatch(value) is None:
            raise TypeError(f"expected {self.form.description}")
        return self.inner.encode(value)

    def decode(self, data: Any) -> Any:
        value = data if type(data) is str else self.inner.decode(data)
        if isinstance(value, str) and self.form.pattern.fullmatch(value) is None:
            raise WrongShapeError(f"expected {self.form.description}")
        return value


@frozen
class _Optionals(Coder):
    """Values of another coder, or None."""

    inner: Coder

    def encode(self, value: Any) -> Any:
        return None if value is None else self.inner.encode(value)

    def decode(self, data: Any) -> Any:
        return None if data is None else self.inner.decode(data)


@frozen
class _Lists(Coder):
    """Tuples of at most `max_items` items, as lists."""

    item: Coder
    max_items: int | None = None

    def encode(self, value: Any) -> list[Any]:
        if not isinstance(value, tuple | list):
            raise TypeError(format_type_mismatch("a list", value))
        if self.max_items is not None and len(value) > self.max_items:
            raise TypeError(TOO_DEEP)
        return [self.item.encode(part) for part in value]

    def decode(self, data: Any) -> Any:
        if not isinstance(data, list):
            raise WrongShapeError(format_type_mismatch("a list", data))
        if self.max_items is not None and len(data) > self.max_items:
            raise WrongShapeError(TOO_DEEP)
        decode = self.item.decode
        return tuple([decode_step(f"[{index}]", decode, part) for index, part in enumerate(data)])


class _Sets(_Lists):
    """Frozen sets, as sorted lists."""

    def encode(self, value: Any) -> list[Any]:
        return sorted(super().encode([*value]))

    def decode(self, data: Any) -> Any:
        return frozenset(super().decode(data))


@frozen
class _Maps(Coder):
    """Maps, whose keys are texts, addresses or paths of fields, as objects."""

    key: tuple[Callable[[Any], str], Callable[[str], Any]]
    item: Coder

    def encode(self, value: Any) -> JsonObject:
        if not isinstance(value, Mapping):
            raise TypeError(format_type_mismatch("an object", value))
        to_text, write, plain_type = self.key[0], self.item.encode, self.item.plain_type
        return {
            to_text(name): part if type(part) is plain_type else write(part)
            for name, part in value.items()
        }

    def decode(self, data: Any) -> dict[Any, Any]:
        if not isinstance(data, dict):
            raise WrongShapeError(format_type_mismatch("an object", data))
        from_text, read, plain_type = self.key[1], self.item.decode, self.item.plain_type
        try:
            return {
                from_text(name): part if type(part) is plain_type else read(part)
                for name, part in data.items()
            }
        except WrongShapeError:  # read once more, slowly, to find the path of the problem
            return {
                decode_step(f".{name}", from_text, name): decode_step(f".{name}", read, part)
                for name, part in data.items()
            }


def _address_text(value: Any) -> str:
    if not isinstance(value, Address):
        raise TypeError(format_type_mismatch("an address", value))
    return str(value)


@lru_cache(maxsize=4096)
def _pointer(path: Any) -> str:
    return format_json_pointer(tuple(require_text_key(part) for part in path))


@lru_cache(maxsize=4096)
def _parse_pointer(text: str) -> tuple[str, ...]:
    """The path of a JSON Pointer; cached, as ten thousand records share the same few paths."""
    if text.count("/") > MAX_DEPTH:
        raise WrongShapeError(TOO_DEEP)
    try:
        return parse_json_pointer(text)
    except ValueError:
        raise WrongShapeError("expected a JSON Pointer") from None


KEY_CODERS: Mapping[Any, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    str: (require_text_key, lambda text: text),
    Address: (_address_text, decode_address),
    get_args(Fields)[0]: (_pointer, _parse_pointer),
}


def _convert(hint: Any, direction: str, value: Any) -> Any:
    try:
        return getattr(build_coder(hint), direction)(value)
    except RecursionError:
        raise WrongShapeError(TOO_DEEP) from None


def _both_ways(kind: type[T]) -> tuple[Callable[[T], JsonObject], Callable[[Any], T]]:
    """What writes and what reads the values of a type; the coder is made at the first use."""
    return partial(_convert, kind, "encode"), partial(_convert, kind, "decode")


record_to_json, record_from_json = _both_ways(Record)
intent_to_json, intent_from_json = _both_ways(Intent)
audit_entry_to_json, audit_entry_from_json = _both_ways(AuditEntry)
state_to_json, state_from_json = _both_ways(State)
change_to_json, change_from_json = _both_ways(Change)
dry_run_counts_to_json, _ = _both_ways(DryRunCounts)
# Flat fields, as an object of JSON Pointers.
fields_to_json: Callable[[Fields], JsonObject] = partial(_convert, Fields, "encode")
fields_from_json: Callable[[Any], dict[tuple[str, ...], Any]] = partial(_convert, Fields, "decode")

PLAN_FORMAT = 1


def plan_to_json(plan: Plan) -> JsonObject:
    """The JSON object of a plan, with a `format` number."""
    return {"format": PLAN_FORMAT, **_convert(Plan, "encode", plan)}


def plan_from_json(data: Any) -> Plan:
    """The plan of a JSON object; raises WrongShapeError, also for the format of a newer version."""
    format_number = data.get("format") if isinstance(data, Mapping) else None
    if not isinstance(format_number, int) or format_number < 1:
        raise WrongShapeError("this is not a plan: it has no format number")
    if format_number > PLAN_FORMAT:
        raise WrongShapeError(f"the plan was written by a newer version (format {format_number})")
    plan: Plan = _convert(Plan, "decode", data)
    return plan


def format_canonical_field_value(value: Any) -> str:
    """The canonical JSON text of a field's value, which may be a marker such as ABSENT."""
    return format_canonical_json(_convert(Any, "encode", value))
