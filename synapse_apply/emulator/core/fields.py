"""Fields of a request body as data, and the checks Django REST framework makes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from synapse_apply.emulator.core.errors import ApiError, field_errors

FieldType = Literal[
    "text", "object", "boolean", "texts", "integer", "choice", "any", "raw", "percent"
]

_PACKED = frozenset({"object", "texts", "any"})
_TRUE = {"true", "t", "1", "yes", "y", "on"}
_FALSE = {"false", "f", "0", "no", "n", "off"}
REQUIRED = "This field is required."
_NULL = "This field may not be null."
_BLANK = "This field may not be blank."


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `reset` is the value an answer shows when it was never sent."""

    name: str
    type: FieldType = "text"
    required: bool = False
    blank: bool = True
    nullable: bool = False
    choices: tuple[str, ...] = ()
    pattern: str = ""
    reset: Any = ""


@dataclass(frozen=True, slots=True)
class Body:
    """A request body: JSON values, or texts when it came as a form (`is_form`)."""

    values: dict[str, Any]
    is_form: bool = False

    def loosened(self, fields: Iterable[Field]) -> Body:
        """The same with values that came as JSON texts read, as API v2 takes them in JSON too."""
        if self.is_form:
            return self
        packed = {field.name for field in fields if field.type in _PACKED}
        read = {
            name: _unpacked(value) if name in packed and isinstance(value, str) else value
            for name, value in self.values.items()
        }
        return Body(read)


class _WrongError(Exception):
    """The text for one field."""


def check(fields: Iterable[Field], body: Body, *, partial: bool = False) -> dict[str, Any]:
    """The cleaned values of the fields that were sent. Unknown fields are passed over.

    Raises ApiError (400) with every wrong field at once.
    """
    values: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    for field in fields:
        if field.name not in body.values:
            if field.required and not partial:
                errors[field.name] = [REQUIRED]
            continue
        try:
            values[field.name] = _clean(field, body.values[field.name], is_form=body.is_form)
        except _WrongError as wrong:
            errors[field.name] = [str(wrong)]
    if errors:
        raise field_errors(errors)
    return values


def with_resets(fields: Iterable[Field], values: Mapping[str, Any]) -> dict[str, Any]:
    """Every field, in declared order; what was not sent has its reset value."""
    return {field.name: values.get(field.name, field.reset) for field in fields}


def _clean(field: Field, value: Any, *, is_form: bool) -> Any:
    if is_form:
        value = _from_form(field, value)
    if value is None:
        if field.nullable:
            return None
        raise _WrongError(_NULL)
    return _CLEANERS[field.type](field, value)


def _from_form(field: Field, value: Any) -> Any:
    if field.type == "texts":
        if isinstance(value, str):
            return _loads(value) if value.lstrip().startswith("[") else [value]
        return value
    if isinstance(value, list):  # a repeated part where one is wanted: the last counts
        value = value[-1]
    if field.type in ("object", "any", "percent"):
        return _loads(value)
    return None if field.nullable and value == "" else value


def _unpacked(text: str) -> Any:
    try:
        return _loads(text)
    except _WrongError:
        return text


def _loads(text: str) -> Any:
    try:
        value = json.loads(text)
        # What can be read and not be written in an answer must not reach the store.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise _WrongError("Value must be valid JSON.") from None
    return value


def _text(field: Field, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _WrongError("Not a valid string.")
    text = str(value).strip()
    if "\0" in text:
        raise _WrongError("Null characters are not allowed.")
    if not text and (field.required or not field.blank):
        raise _WrongError(_BLANK)
    if field.pattern and not re.fullmatch(field.pattern, text):
        raise _WrongError("This value does not match the required pattern.")
    return text


def _object(_field: Field, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _WrongError(f'Expected a dictionary of items but got type "{_type_name(value)}".')
    return value


def _boolean(_field: Field, value: Any) -> bool:
    word = str(value).lower() if isinstance(value, str | int) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise _WrongError("Must be a valid boolean.")


def _texts(field: Field, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise _WrongError(f'Expected a list of items but got type "{_type_name(value)}".')
    clean = _choice if field.choices else _text
    return [clean(field, item) for item in value]


def _integer(_field: Field, value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value) if len(value) < 20 else None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _WrongError("A valid integer is required.")
    return value


def _choice(field: Field, value: Any) -> str:
    if not isinstance(value, str) or value not in field.choices:
        shown = value if isinstance(value, str) else json.dumps(value)
        raise _WrongError(f'"{shown}" is not a valid choice.')
    return value


def _percent(_field: Field, value: Any) -> int | float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 100:
        raise _WrongError("Ensure this value is a number between 0 and 100.")
    number: int | float = value
    return number


def _type_name(value: Any) -> str:
    return type(value).__name__


def _any(_field: Field, value: Any) -> Any:
    return value


_CLEANERS = {
    "text": _text,
    "object": _object,
    "boolean": _boolean,
    "texts": _texts,
    "integer": _integer,
    "choice": _choice,
    "any": _any,
    "raw": _any,
    "percent": _percent,
}


@contextmanager
def noting(problems: dict[str, Any]) -> Iterator[None]:
    """Keep what a refusal says and go on, so that one 400 tells every problem."""
    try:
        yield
    except ApiError as error:
        problems |= error.body
