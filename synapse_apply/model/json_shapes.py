"""JSON coding of a dataclass by its declared types, so that a new field of the model is coded too.

A dataclass becomes an object, each field under its KEY (text_forms.py), else under its name; an
address becomes its text, an enum its value, a path a list (so that 0 and "0" stay apart), fields an
object of JSON Pointers. Writing checks as strictly as reading: what could not be read back is a
TypeError when it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Path, from_pointer, pointer
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_values import (
    DEEPEST,
    LONGEST_DECIMAL_BITS,
    TOO_DEEP,
    Json,
    WrongShape,
    address_of,
    expected,
    key_of,
    step_into,
    value_from_json,
    value_to_json,
)
from synapse_apply.model.text_forms import FORM, KEY, TextForm
from synapse_apply.model.values import Fields


@frozen
class Coder:
    """How values of one declared type are written and read.

    `of_texts`: a text is itself, written and read. Most of a state is texts.
    """

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    of_texts: bool = False


@cache
def coder_of(hint: Any) -> Coder:
    """The coder of a declared type; a type without one is a mistake in the model."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return Coder(value_to_json, value_from_json, of_texts=True)
    if hint is Address:
        return Coder(_address_to_text, address_of)
    if hint in SCALARS:
        return _scalar(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _dataclass(hint)
    if origin is tuple:
        most = DEEPEST if hint == Path else None
        return _tuple(coder_of(args[0]), most)
    if origin is Mapping:
        return _mapping(args[0], coder_of(args[1]))
    if origin in (Union, UnionType):
        return _union(args)
    raise TypeError(f"no coding for {hint}")


SCALARS: Mapping[Any, str] = {str: "a text", int: "an integer", float: "a number", bool: "a truth"}


def _scalar(kind: type[Any]) -> Coder:
    def check(value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number if kind is float else _is_exactly(kind, value) and _is_printable(value)

    def encode(value: Any) -> Any:
        if not check(value):
            raise TypeError(expected(SCALARS[kind], value))
        return value_to_json(value)

    def decode(data: Any) -> Any:
        value = value_from_json(data)
        if not check(value):
            raise WrongShape(expected(SCALARS[kind], data))
        return value

    return Coder(encode, decode, of_texts=kind is str)


def _enum(kind: type[Enum]) -> Coder:
    def encode(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(expected(f"a {kind.__name__}", value))
        return value.value

    def decode(data: Any) -> Enum:
        for member in kind:
            if member.value == data:
                return member
        known = ", ".join(str(member.value) for member in kind)
        raise WrongShape(f"expected one of {known}")

    return Coder(encode, decode)


def _dataclass(kind: type[Any]) -> Coder:
    hints = get_type_hints(kind)
    parts = []
    for field in fields(kind):
        coder = _of_form(coder_of(hints[field.name]), field.metadata.get(FORM))
        parts.append((field.name, key_of_field(field), coder.encode, coder.decode, coder.of_texts))
    needed = {key_of_field(field) for field in fields(kind) if is_needed(field)}

    def encode(value: Any) -> Json:
        if not isinstance(value, kind):
            raise TypeError(expected(f"a {kind.__name__}", value))
        data: Json = {}
        for name, key, written, _, of_texts in parts:
            part = getattr(value, name)
            data[key] = part if of_texts and type(part) is str else written(part)
        return data

    def decode(data: Any) -> Any:
        if not isinstance(data, dict):
            raise WrongShape(expected("an object", data))
        if not data.keys() >= needed:
            raise WrongShape(f"{', '.join(sorted(needed - data.keys()))} missing")
        found = {}
        try:
            for name, key, _, read, of_texts in parts:
                if key in data:
                    part = data[key]
                    found[name] = part if of_texts and type(part) is str else read(part)
        except WrongShape as problem:
            raise problem.under(f".{key}") from None
        return kind(**found)

    return Coder(encode, decode)


def key_of_field(field: Field[Any]) -> str:
    """The JSON key of a field: what users' files have, whatever the field is called."""
    key: str = field.metadata.get(KEY, field.name)
    return key


def is_needed(field: Field[Any]) -> bool:
    """Whether a value without its key cannot be read."""
    return field.default is MISSING and field.default_factory is MISSING


def _of_form(coder: Coder, form: TextForm | None) -> Coder:
    """The coder of a text that has a form: one that has it not is neither written nor read."""
    if form is None:
        return coder

    def encode(value: Any) -> Any:
        if isinstance(value, str) and form.pattern.fullmatch(value) is None:
            raise TypeError(f"expected {form.words}")
        return coder.encode(value)

    def decode(data: Any) -> Any:
        value = coder.decode(data)
        if isinstance(value, str) and form.pattern.fullmatch(value) is None:
            raise WrongShape(f"expected {form.words}")
        return value

    return Coder(encode, decode)


def _tuple(item: Coder, most: int | None) -> Coder:
    """The coder of a list, of at most `most` items: views show a path by recursion."""

    def encode(value: Any) -> list[Any]:
        if not isinstance(value, tuple | list):
            raise TypeError(expected("a list", value))
        if most is not None and len(value) > most:
            raise TypeError(TOO_DEEP)
        return [item.encode(part) for part in value]

    def decode(data: Any) -> tuple[Any, ...]:
        if not isinstance(data, list):
            raise WrongShape(expected("a list", data))
        if most is not None and len(data) > most:
            raise WrongShape(TOO_DEEP)
        return tuple([step_into(f"[{at}]", item.decode, part) for at, part in enumerate(data)])

    return Coder(encode, decode)


def _mapping(key: Any, item: Coder) -> Coder:
    to_text, from_text = KEYS[key]
    written, read, of_texts = item.encode, item.decode, item.of_texts

    def encode(value: Any) -> Json:
        if not isinstance(value, Mapping):
            raise TypeError(expected("an object", value))
        return {
            to_text(name): part if of_texts and type(part) is str else written(part)
            for name, part in value.items()
        }

    def decode(data: Any) -> dict[Any, Any]:
        if not isinstance(data, dict):
            raise WrongShape(expected("an object", data))
        try:
            return {
                from_text(name): part if of_texts and type(part) is str else read(part)
                for name, part in data.items()
            }
        except WrongShape:  # as above
            return {
                step_into(f".{name}", from_text, name): step_into(f".{name}", item.decode, part)
                for name, part in data.items()
            }

    return Coder(encode, decode)


def _union(args: tuple[Any, ...]) -> Coder:
    """`X | None`, or a choice of scalars that JSON tells apart."""
    options = [arg for arg in args if arg is not NoneType]
    if len(options) == 1:
        inner = coder_of(options[0])
        return Coder(
            lambda value: None if value is None else inner.encode(value),
            lambda data: None if data is None else inner.decode(data),
        )
    choice = " or ".join(SCALARS[option] for option in options)

    def check(value: Any, error: Callable[[str], Exception]) -> Any:
        if not any(_is_exactly(option, value) for option in options):
            raise error(expected(choice, value))
        return value

    return Coder(lambda value: check(value, TypeError), lambda data: check(data, WrongShape))


def _is_printable(value: Any) -> bool:
    return not isinstance(value, int) or value.bit_length() <= LONGEST_DECIMAL_BITS


def _is_exactly(kind: type[Any], value: Any) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _address_to_text(value: Any) -> str:
    if not isinstance(value, Address):
        raise TypeError(expected("an address", value))
    return str(value)


@lru_cache(maxsize=4096)
def _path_to_text(path: Any) -> str:
    return pointer(tuple(key_of(part) for part in path))


@lru_cache(maxsize=4096)
def _path(text: str) -> tuple[str, ...]:
    """Kept: ten thousand records have the same few paths, and share them so."""
    if text.count("/") > DEEPEST:
        raise WrongShape(TOO_DEEP)
    try:
        return from_pointer(text)
    except ValueError:
        raise WrongShape("expected a JSON Pointer") from None


KEYS: Mapping[Any, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    str: (key_of, lambda text: text),
    Address: (_address_to_text, address_of),
    get_args(Fields)[0]: (_path_to_text, _path),
}
