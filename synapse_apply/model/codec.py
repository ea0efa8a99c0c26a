"""How dataclasses are coded as JSON by their declared types, for states and saved plans.

A dataclass becomes an object, each field under its KEY (text_forms.py), else under its name; an
address becomes its text, an enum its value, a path a list (so that 0 and "0" stay apart), fields an
object of JSON Pointers. Writing checks as strictly as reading: what could not be read back raises
TypeError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache
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


@frozen
class Coder:
    """Encodes and decodes values of one declared type.

    A value of `plain_type` is coded as itself, so that callers may skip both functions.
    """

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    plain_type: type[Any] | None = None


@cache
def build_coder(hint: Any) -> Coder:
    """The coder of a declared type; raises TypeError for a type that has none."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return Coder(value_to_json, value_from_json, str)
    if hint is Address:
        return Coder(_address_text, decode_address)
    if hint in SCALAR_LABELS:
        return _scalar_coder(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _build_enum_coder(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _build_dataclass_coder(hint)
    if origin is tuple:
        max_items = MAX_DEPTH if hint == FieldPath else None
        return _build_tuple_coder(build_coder(args[0]), max_items)
    if origin is frozenset:
        items = _build_tuple_coder(build_coder(args[0]), None)
        return Coder(lambda v: sorted(items.encode([*v])), lambda d: frozenset(items.decode(d)))
    if origin is Mapping:
        return _build_mapping_coder(args[0], build_coder(args[1]))
    if origin in (Union, UnionType):
        return _build_union_coder(args)
    raise TypeError(f"no coding for {hint}")


SCALAR_LABELS: Mapping[Any, str] = {
    str: "a text",
    int: "an integer",
    float: "a number",
    bool: "a truth",
}


def _scalar_coder(scalar_type: type[Any]) -> Coder:
    def is_valid(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return (
            # An integer is written as it is, so a float field accepts both.
            is_number
            if scalar_type is float
            else _is_instance(scalar_type, value)
            and (not isinstance(value, int) or value.bit_length() <= MAX_DECIMAL_BITS)
        )

    def encode_scalar(value: Any) -> Any:
        if not is_valid(value):
            raise TypeError(format_type_mismatch(SCALAR_LABELS[scalar_type], value))
        return value_to_json(value)

    def decode_scalar(data: Any) -> Any:
        value = value_from_json(data)
        if not is_valid(value):
            raise WrongShapeError(format_type_mismatch(SCALAR_LABELS[scalar_type], data))
        return value

    # Numbers are checked for size, so only these types need no coding.
    plain_type = scalar_type if scalar_type in (str, bool) else None
    return Coder(encode_scalar, decode_scalar, plain_type)


def _build_enum_coder(enum_type: type[Enum]) -> Coder:
    def encode_member(value: Any) -> Any:
        if not isinstance(value, enum_type):
            raise TypeError(format_type_mismatch(f"a {enum_type.__name__}", value))
        return value.value

    def decode_member(data: Any) -> Enum:
        # Not `enum_type(data)`, whose error quotes the value, and which accepts True for 1.
        for member in enum_type:
            if member.value == data:
                return member
        choices = ", ".join(str(member.value) for member in enum_type)
        raise WrongShapeError(f"expected one of {choices}")

    return Coder(encode_member, decode_member)


def _build_dataclass_coder(dataclass_type: type[Any]) -> Coder:
    # Once for each class (build_coder is cached): resolving annotations is slow.
    hints = get_type_hints(dataclass_type)
    coded_fields = []
    for field in fields(dataclass_type):
        coder = _checked(build_coder(hints[field.name]), field.metadata.get(FORM_METADATA_KEY))
        coded_fields.append(
            (field.name, get_json_key(field), coder.encode, coder.decode, coder.plain_type)
        )
    required_names = {
        get_json_key(field) for field in fields(dataclass_type) if is_required_field(field)
    }
    omittable = [
        (
            get_json_key(field),
            field.name,
            field.default if field.default_factory is MISSING else field.default_factory(),
        )
        for field in fields(dataclass_type)
        if field.metadata.get(OMITTED_BY_DEFAULT)
    ]
    omitted_keys = frozenset(key for key, _, _ in omittable)
    # Fields that may be omitted are the last ones of their class.
    readers = [
        (key, read, plain_type)
        for _, key, _, read, plain_type in coded_fields
        if key not in omitted_keys
    ]
    keys = frozenset(key for key, _, _ in readers)

    def encode_fields(value: Any) -> JsonObject:
        if not isinstance(value, dataclass_type):
            raise TypeError(format_type_mismatch(f"a {dataclass_type.__name__}", value))
        data: JsonObject = {}
        # The check for plain texts is inlined: most fields are texts, and a call for each is slow.
        for name, key, write, _, plain_type in coded_fields:
            part = getattr(value, name)
            data[key] = part if type(part) is plain_type else write(part)
        for key, name, default in omittable:
            if getattr(value, name) == default:
                del data[key]
        return data

    def decode_fields(data: Any) -> Any:
        if not isinstance(data, dict):
            raise WrongShapeError(format_type_mismatch("an object", data))
        if not data.keys() >= required_names:
            raise WrongShapeError(f"{', '.join(sorted(required_names - data.keys()))} missing")
        try:
            # As this version wrote most: in the order of the fields, none that may be omitted.
            if data.keys() >= keys and omitted_keys.isdisjoint(data):
                values = []
                for key, read, plain_type in readers:
                    part = data[key]
                    values.append(part if type(part) is plain_type else read(part))
                return dataclass_type(*values)
            named_values = {}
            for name, key, _, read, _ in coded_fields:
                if key in data:
                    named_values[name] = read(data[key])
        except WrongShapeError as problem:
            raise problem.with_outer_step(f".{key}") from None
        return dataclass_type(**named_values)

    return Coder(encode_fields, decode_fields)


def get_json_key(field: Field[Any]) -> str:
    """The JSON key of a field, which stays the same when the field is renamed."""
    key: str = field.metadata.get(KEY, field.name)
    return key


def is_required_field(field: Field[Any]) -> bool:
    """Whether a field has no default, so that its key must be present."""
    return field.default is MISSING and field.default_factory is MISSING


def _checked(coder: Coder, form: TextForm | None) -> Coder:
    """The coder with a check of a text's form, when written and when read."""
    if form is None:
        return coder

    def require_form_and_encode(value: Any) -> Any:
        if isinstance(value, str) and form.pattern.fullmatch(value) is None:
            raise TypeError(f"expected {form.description}")
        return coder.encode(value)

    def require_form_and_decode(data: Any) -> Any:
        value = data if type(data) is str else coder.decode(data)
        if isinstance(value, str) and form.pattern.fullmatch(value) is None:
            raise WrongShapeError(f"expected {form.description}")
        return value

    return Coder(require_form_and_encode, require_form_and_decode)


def _build_tuple_coder(item: Coder, max_items: int | None) -> Coder:
    """The coder of a list of at most `max_items` items.

    A path is limited, since values at it are shown by recursion.
    """

    def encode_list(value: Any) -> list[Any]:
        if not isinstance(value, tuple | list):
            raise TypeError(format_type_mismatch("a list", value))
        if max_items is not None and len(value) > max_items:
            raise TypeError(TOO_DEEP)
        return [item.encode(part) for part in value]

    def decode_list(data: Any) -> tuple[Any, ...]:
        if not isinstance(data, list):
            raise WrongShapeError(format_type_mismatch("a list", data))
        if max_items is not None and len(data) > max_items:
            raise WrongShapeError(TOO_DEEP)
        return tuple(
            [decode_step(f"[{index}]", item.decode, part) for index, part in enumerate(data)]
        )

    return Coder(encode_list, decode_list)


def _build_mapping_coder(key: Any, item: Coder) -> Coder:
    to_text, from_text = KEY_CODERS[key]
    write_item, read_item, plain_type = item.encode, item.decode, item.plain_type

    def encode_mapping(value: Any) -> JsonObject:
        if not isinstance(value, Mapping):
            raise TypeError(format_type_mismatch("an object", value))
        return {
            to_text(name): part if type(part) is plain_type else write_item(part)
            for name, part in value.items()
        }

    def decode_mapping(data: Any) -> dict[Any, Any]:
        if not isinstance(data, dict):
            raise WrongShapeError(format_type_mismatch("an object", data))
        try:
            return {
                from_text(name): part if type(part) is plain_type else read_item(part)
                for name, part in data.items()
            }
        except WrongShapeError:  # read once more, slowly, to find the path of the problem
            return {
                decode_step(f".{name}", from_text, name): decode_step(f".{name}", item.decode, part)
                for name, part in data.items()
            }

    return Coder(encode_mapping, decode_mapping)


def _build_union_coder(args: tuple[Any, ...]) -> Coder:
    """The coder of `X | None`, or of a union of scalars that JSON can tell apart."""
    options = [arg for arg in args if arg is not NoneType]
    if len(options) == 1:
        inner = build_coder(options[0])
        return Coder(
            lambda value: None if value is None else inner.encode(value),
            lambda data: None if data is None else inner.decode(data),
        )
    choice = " or ".join(SCALAR_LABELS[option] for option in options)

    def require_option_type(value: Any, make_error: Callable[[str], Exception]) -> Any:
        if not any(_is_instance(option, value) for option in options):
            raise make_error(format_type_mismatch(choice, value))
        return value

    return Coder(
        lambda value: require_option_type(value, TypeError),
        lambda data: require_option_type(data, WrongShapeError),
    )


def _is_instance(expected_type: type[Any], value: Any) -> bool:
    return isinstance(value, expected_type) and (
        expected_type is bool or not isinstance(value, bool)
    )


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


# How values of the model are written to JSON and read back, for states and saved plans.
#
# Both directions are exact. Reading ignores unknown keys and fills missing ones with defaults, so
# that minor versions can read each other's files; any other shape is a WrongShapeError that names
# the place, never the value. Writing a secret, or what could not be read back, raises TypeError.

PLAN_FORMAT = 1

T = TypeVar("T")


def record_to_json(record: Record) -> JsonObject:
    return _encode_model_value(Record, record)


def record_from_json(data: Any) -> Record:
    return _decode_model_value(Record, data)


def intent_to_json(intent: Intent) -> JsonObject:
    return _encode_model_value(Intent, intent)


def intent_from_json(data: Any) -> Intent:
    return _decode_model_value(Intent, data)


def audit_entry_to_json(entry: AuditEntry) -> JsonObject:
    return _encode_model_value(AuditEntry, entry)


def audit_entry_from_json(data: Any) -> AuditEntry:
    return _decode_model_value(AuditEntry, data)


def state_to_json(state: State) -> JsonObject:
    return _encode_model_value(State, state)


def state_from_json(data: Any) -> State:
    return _decode_model_value(State, data)


def change_to_json(change: Change) -> JsonObject:
    return _encode_model_value(Change, change)


def change_from_json(data: Any) -> Change:
    return _decode_model_value(Change, data)


def dry_run_counts_to_json(trial: DryRunCounts) -> JsonObject:
    return _encode_model_value(DryRunCounts, trial)


def plan_to_json(plan: Plan) -> JsonObject:
    """The JSON object of a plan, with a `format` number."""
    return {"format": PLAN_FORMAT, **_encode_model_value(Plan, plan)}


def plan_from_json(data: Any) -> Plan:
    """The plan of a JSON object; raises WrongShapeError, also for the format of a newer version."""
    format_number = data.get("format") if isinstance(data, Mapping) else None
    if not isinstance(format_number, int) or format_number < 1:
        raise WrongShapeError("this is not a plan: it has no format number")
    if format_number > PLAN_FORMAT:
        raise WrongShapeError(f"the plan was written by a newer version (format {format_number})")
    return _decode_model_value(Plan, data)


def fields_to_json(values: Fields) -> JsonObject:
    """Flat fields as an object of JSON Pointers (RFC 6901)."""
    encoded: JsonObject = _convert(build_coder(Fields).encode, values)
    return encoded


def fields_from_json(data: Any) -> dict[tuple[str, ...], Any]:
    """The inverse of fields_to_json."""
    decoded: dict[tuple[str, ...], Any] = _convert(build_coder(Fields).decode, data)
    return decoded


def format_canonical_field_value(value: Any) -> str:
    """The canonical JSON text of a field's value, which may be a marker such as ABSENT."""
    return format_canonical_json(_convert(value_to_json, value))


def _encode_model_value(model_type: Any, value: Any) -> JsonObject:
    encoded: JsonObject = _convert(build_coder(model_type).encode, value)
    return encoded


def _decode_model_value(model_type: type[T], data: Any) -> T:
    hint: Any = model_type
    decoded: T = _convert(build_coder(hint).decode, data)
    return decoded


def _convert(convert: Callable[[Any], Any], value: Any) -> Any:
    try:
        return convert(value)
    except RecursionError:
        raise WrongShapeError(TOO_DEEP) from None
